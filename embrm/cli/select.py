"""`embrm select`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("model", metavar="MODEL|SCORES")
@click.argument("pools", metavar="POOLS")
@click.option("--selector", default="mean", show_default=True, metavar="NAME", help="See `embrm list selectors`.")
@_options.settings
@_options.penalty
@_options.to_rows
@_rows.options
@_rows.reference_options
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    model: str,
    pools: str,
    selector: str,
    options: tuple[str, ...],
    penalty: _options.PenaltyOptions,
    output: str,
    source: _options.SourceOptions,
    rules: RowRules,
    reference_rules: RowRules,
    seed: int,
    as_json: bool,
) -> None:
    """Choose one response for each prompt, by any rule.

    POOLS has rows {id, prompt, responses[]}. Each line of the output is a prompt with its chosen response, the index of
    that in the pool, and the value that the selector compared. Instead of a model, what `embrm score` wrote will do, or
    a .npy file of draws (draws, responses). The rules penalised and imitation subtract what --penalty
    says.

    Examples:
      embrm select model pools.jsonl --selector worst_case -o chosen.jsonl
      embrm select scores.jsonl pools.jsonl --selector uncertainty_weighted --set weight=0.1
      embrm select model pools.jsonl --selector penalised --set weight=0.1 --penalty mahalanobis --reference prefs.jsonl
      embrm select model pools.jsonl --selector imitation --set weight=0.05 --penalty imitation --experts texts.jsonl
    """
    from embrm import selectors
    from embrm.core.files import check_output
    from embrm.data.columns import gold
    from embrm.data.texts import read_texts
    from embrm.evaluation import penalty as choosing
    from embrm.evaluation.scorer import Scorer

    rule = _options.recipe(selectors.registry, selector, options)
    choosing.check_penalty([rule], given=penalty.name is not None)
    check_output(output)
    scorer = Scorer.open(model, reading=source.reading)
    texts = read_texts(pools, kind="pools", rules=scorer.rules(rules))
    weighed = penalty.penalty(scorer.rules(reference_rules))
    values = gold(texts.rows)
    choice = rule(
        scorer.reward(texts),
        offsets=texts.offsets,
        penalty=None if weighed is None else weighed.of(texts, scorer, seed=seed),
        seed=seed,
    )
    _render.emit_rows(choosing.chosen_rows(texts, choice, gold=values), output, as_json=as_json)
