"""`embrm evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules
    from embrm.data.texts import Texts
    from embrm.heads import FittedHead


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="FILE")
@click.option("--sizes", metavar="N,N,…", help="The n of the curve; without it, 1 to the smallest pool, of many some.")
@click.option(
    "--pool",
    type=click.Choice(["population", "support"]),
    default="population",
    show_default=True,
    help="Whether a pool is a sample of the policy, or all that the policy can say.",
)
@click.option(
    "--figure", metavar="PATH", help="Draw the curve, or for pairs the reliability diagram: PATH ends in .svg or .png."
)
@_rows.options
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    model: str,
    file: str,
    sizes: str | None,
    pool: Literal["population", "support"],
    figure: str | None,
    source: _options.SourceOptions,
    rules: RowRules,
    seed: int,
    as_json: bool,
) -> None:
    """Measure a model on preference pairs, or draw its best-of-n curve on pools with gold rewards.

    FILE has pairs (prompt, chosen, rejected) or pools ({id, prompt, responses[], gold[]} a row), in any layout of
    `embrm data layouts`. Pairs give accuracy,
    negative log-likelihood and calibration error with 95 % intervals over prompts; pools give the exact expected gold
    of the best of n by the model, beside the oracle and a random choice. Labelled steps give how often the first error
    is found, of a model that `embrm fit --steps` made. Rows that the model was trained on are told,
    and the others reported apart.

    Examples:
      embrm evaluate model prefs.jsonl --figure reliability.svg
      embrm evaluate model pools.jsonl --figure curve.svg
    """
    from embrm.core.data import Candidates
    from embrm.data.read import as_candidates, as_pairs
    from embrm.data.texts import read_texts
    from embrm.evaluation.pool_sizes import long_enough
    from embrm.evaluation.reports import PairReport, report
    from embrm.heads import load_model
    from embrm.report import figures

    if figure:
        figures.check(figure)
    wanted = _options.whole_numbers("--sizes", sizes)
    fitted = load_model(model)
    texts = read_texts(file, kind="measured", rules=rules.like(fitted.embedder))
    if texts.kind == "traces":
        _steps(fitted, texts, {"model": model, "file": file}, source=source, seed=seed, as_json=as_json)
        return
    turn = as_pairs if texts.kind == "pairs" else as_candidates
    data = turn(texts, views=fitted.widths, **source.reading(fitted))
    if isinstance(data, Candidates):
        data = data.take(long_enough(texts, wanted, pool=pool))
    found = report(fitted, data, sizes=wanted, pool=pool, seed=seed)
    text = _render.pair_table(found) if isinstance(found, PairReport) else _render.pool_table(found)
    if found.unseen is not None:
        rest = found.unseen
        table = _render.pair_table(rest) if isinstance(rest, PairReport) else _render.pool_table(rest)
        text += f"\n\nnot trained on: {table}"
    if figure:
        figures.save(figures.evaluation(found), figure)
        text += f"\nfigure: {figure}"
    _render.emit({"model": model, "file": file, **found.as_dict()}, text, as_json=as_json)


def _steps(
    model: FittedHead, texts: Texts, about: dict[str, str], *, source: _options.SourceOptions, seed: int, as_json: bool
) -> None:
    """Measure a step reward on labelled steps."""
    from embrm.data.traces import as_traces
    from embrm.errors import OptionError
    from embrm.evaluation.steps import step_report

    if not model.head.learns_steps:
        raise OptionError(
            f"{about['file']} has labelled steps, and {about['model']} learned from preferences; train one on steps by "
            "`embrm fit --steps`"
        )
    traces = as_traces(texts, views=model.widths, **source.reading(model))
    found = step_report(model.score(traces.features), traces, seed=seed)
    _render.emit({**about, **found.as_dict()}, _render.step_table(found), as_json=as_json)
