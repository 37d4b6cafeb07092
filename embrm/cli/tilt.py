"""`embrm tilt`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--refine",
    type=_options.whole(),
    default=0,
    show_default=True,
    help="Texts to add for each prompt where the reward leads.",
)
@click.option("--rounds", type=_options.whole(1), default=1, show_default=True, help="How often to add them.")
@_options.principle
@_options.latent_penalty
@click.option("--figure", metavar="FILE", help="Draw the path (.svg or .png).")
@_options.embedding
@_options.seed
@_options.json_output
def command(
    model: str,
    refine: int,
    rounds: int,
    principle: str | None,
    latent_penalty: float,
    figure: str | None,
    source: _options.SourceOptions,
    seed: int,
    as_json: bool,
) -> None:
    """Follow what a model's reward would make of a policy in the simulated world, from π_ref to full pressure.

    Each row is the optimum under a KL penalty, computed on the shipped stratified pool: what reinforcement learning
    could at best reach. A row is unreliable where its effective sample size, summed over prompts, is below 400, or its
    bias, measured on halves of the pool, above 0.05 standard deviations of the reward; `--refine` adds texts.

    Examples:
      embrm tilt model
      embrm tilt model --refine 64
      embrm tilt model --latent-penalty 0.1
    """
    from embrm import embedders
    from embrm.report import figures
    from embrm.report.path import along_kl
    from embrm.world import shipped
    from embrm.world.penalty import LatentPenalty
    from embrm.world.runs import path_rows, scored_pool

    if figure:
        figures.check(figure)
    fitted = _options.open_model(model, principle, source)
    embedder = source.reading(fitted)["embedder"]
    data = shipped.load(embedders.registry.name_of(embedder))
    penalty = LatentPenalty.of(fitted, data, weight=latent_penalty) if latent_penalty else None
    pool = scored_pool(fitted, data, embedder=embedder, refine=refine, rounds=rounds, penalty=penalty, seed=seed)
    rows = path_rows(pool.path())
    if figure:
        figures.save(along_kl(rows), figure)
    columns = ("kl", "proxy", "gold", "ess", "bias", "reliable")
    _render.emit({"path": rows}, _render.table(columns, [[row[c] for c in columns] for row in rows]), as_json=as_json)
