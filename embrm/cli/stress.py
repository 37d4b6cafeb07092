"""`embrm stress`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--limit", type=click.FloatRange(0, 1), metavar="SHARE", help="Exit 3 where a share lies above it.")
@click.option(
    "--prompts", type=_options.whole(2), default=100, show_default=True, help="At most so many, drawn by the seed."
)
@click.option(
    "--radius",
    type=_options.Number(),
    default=0.25,
    show_default=True,
    help="How far vectors move: 1 is as far as two responses to one prompt lie apart.",
)
@click.option("--draws", type=_options.whole(20), default=200, show_default=True, help="Moves of each pair.")
@click.option("--selector", metavar="NAME[:OPTION=VALUE,…]", help="Whose value is looked at; mean unless given.")
@click.option("--html", metavar="PATH", help="Write a page with figures and examples too.")
@_rows.options
@_options.embedding
@_options.seed
@_options.json_output
def command(
    model: str,
    file: str | None,
    limit: float | None,
    prompts: int,
    radius: float,
    draws: int,
    selector: str | None,
    html: str | None,
    rules: RowRules,
    source: _options.SourceOptions,
    seed: int,
    as_json: bool,
) -> int:
    """Put a model's reward under stress: texts that nobody should like better, doubts, vectors that move.

    FILE has pairs, pools or texts; without it the texts are the simulated world's. Probes change a response so that no
    reader should like it better (padding, flattery, repetition, nothing, half of it, an answer to another prompt, the
    prompt itself, sentences in random order, an answer that is taken back), and count how often the reward is at least
    as high all the same. Doubts are appended to both responses to a prompt, and vectors moved at random: how often is
    the preference still the same? With `--limit` the exit code is 3 if the interval of a probe's acceptance, or of the
    share of turned preferences, lies wholly above the limit.

    Examples:
      embrm stress model
      embrm stress model prefs.jsonl --limit 0.9 --html stress.html
    """
    from embrm import selectors
    from embrm.core.files import check_writable
    from embrm.data.texts import read_texts
    from embrm.evaluation.stress import StressTexts, stress
    from embrm.heads import load_model

    if html is not None:
        check_writable(html)
    fitted = load_model(model)
    rule = next(iter(_options.recipes(selectors.registry, [selector] if selector else []).values()), None)
    embedder = source.embedder_of(fitted)
    if file is None:
        texts = StressTexts.shipped(most=prompts, seed=seed)
    else:
        texts = StressTexts.of(read_texts(file, rules=rules.like(fitted.embedder)), most=prompts, seed=seed)
    found = stress(fitted, texts, embedder=embedder, rule=rule, radius=radius, draws=draws, seed=seed)
    above = [] if limit is None else found.above(limit)
    text = _render.stress_table(found)
    if html is not None:
        from embrm.report.stress import write

        write(found, html, model=model, above=above, limit=limit)
        text += f"\npage: {html}"
    if above:
        text += f"\nALARM: above {limit}: {', '.join(above)}"
    _render.emit({"model": model, "file": file, **found.as_dict(), "above": above}, text, as_json=as_json)
    return 3 if above else 0
