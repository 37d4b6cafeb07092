"""`embrm tilt`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--refine", default=0, show_default=True, help="Texts to add for each prompt where the reward leads.")
@click.option("--rounds", default=1, show_default=True, help="How often to add them.")
@click.option("--figure", metavar="FILE", help="Draw the path (.svg or .png).")
@_options.embedding
@_options.seed
@_options.json_output
def command(
    model: str,
    refine: int,
    rounds: int,
    figure: str | None,
    source: _options.Source,
    seed: int,
    as_json: bool,
) -> None:
    """Follow what a model's reward would make of a policy in the simulated world, from π_ref to full pressure.

    Each row is the optimum under a KL penalty, computed on the shipped stratified pool: what reinforcement learning
    could at best reach. Rows whose median effective sample size is below 100 are unreliable; `--refine` adds texts.

    Examples:
      embrm tilt model
      embrm tilt model --refine 64
    """
    from embrm import embedders
    from embrm.heads._saved import load_model
    from embrm.report import figures
    from embrm.report.path import along_kl
    from embrm.world import shipped
    from embrm.world.runs import path_rows, scored_pool

    if figure:
        figures.check(figure)
    fitted = load_model(model)
    embedder = source.reading(fitted)["embedder"]
    data = shipped.load(embedders.registry.name_of(embedder))
    rows = path_rows(scored_pool(fitted, data, embedder=embedder, refine=refine, rounds=rounds, seed=seed).path())
    if figure:
        figures.save(along_kl(rows), figure)
    columns = ("kl", "proxy", "gold", "ess", "reliable")
    _render.emit({"path": rows}, _render.table(columns, [[row[c] for c in columns] for row in rows]), as_json=as_json)
