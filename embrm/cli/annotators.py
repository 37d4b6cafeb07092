"""`embrm annotators`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("model", metavar="MODEL|SCORES")
@click.argument("file", metavar="FILE")
@click.option(
    "--selector",
    default="utilitarian",
    show_default=True,
    metavar="NAME[:OPTION=VALUE,…]",
    help="Of pools: what chooses a response for all annotators.",
)
@_rows.options
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    model: str,
    file: str,
    selector: str,
    source: _options.SourceOptions,
    rules: RowRules,
    seed: int,
    as_json: bool,
) -> None:
    """Tell how well the rewards of several annotators are known, on pairs that they judged or on pools.

    MODEL is what `embrm fit --by annotator` wrote, or SCORES what `embrm score` made of it. Of pairs with an annotator
    each, a row says how many of that annotator's pairs its own reward orders as judged, and how many the mean of all.
    Of pools, a row says what each annotator would gain if the response that one of them prefers replaced the chosen
    one, in standard deviations, how uncertain that is, and in which share of the pools its sign is not known: where
    that share is large, the data do not cover the change, and a rule with a weight (--set weight=1) is the safer one.

    Examples:
      embrm annotators annotators votes.jsonl
      embrm annotators annotators pools.jsonl --selector nash:weight=1
    """
    from dataclasses import asdict

    from embrm import selectors
    from embrm.data.read import as_pairs
    from embrm.data.texts import read_texts
    from embrm.errors import OptionError
    from embrm.evaluation.annotators import annotator_accuracy, coverage
    from embrm.evaluation.scorer import Scorer

    rule = next(iter(_options.recipes(selectors.registry, [selector]).values()))
    scorer = Scorer.open(model, reading=source.reading)
    texts = read_texts(file, kind="judged", rules=scorer.rules(rules))
    if texts.kind == "pairs":
        if scorer.model is None:
            raise OptionError(f"{model} holds scores; pairs are ordered by a model, give its folder")
        pairs = as_pairs(texts, views=scorer.model.widths, **source.reading(scorer.model))
        found = annotator_accuracy(scorer.model.score(pairs.features), pairs)
        rows = [asdict(each) for each in found]
        text = _render.table(["annotator", "pairs", "own reward", "mean reward"], [list(row.values()) for row in rows])
        _render.emit({"model": model, "file": file, "accuracy": rows}, text, as_json=as_json)
        return
    told = coverage(scorer.reward(texts), rule, offsets=texts.offsets, seed=seed)
    numbers = ("gain", "uncertainty", "unsure")
    changes = [
        [of, to, float(told.moved[i]), *(float(getattr(told, name)[i, j]) for name in numbers)]
        for i, of in enumerate(told.names)
        for j, to in enumerate(told.names)
    ]
    text = _render.table(["preferred by", "annotator", "moved", *numbers], changes)
    _render.emit({"model": model, "file": file, "selector": selector, **asdict(told)}, text, as_json=as_json)
