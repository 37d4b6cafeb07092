"""`embrm rl`."""

from __future__ import annotations

import sys
from typing import Literal

import click

from embrm.cli import _options, _render


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", metavar="FOLDER", required=True, help="A new folder for the run.")
@click.option("--algorithm", type=click.Choice(["reinforce", "ppo"]), default="reinforce", show_default=True)
@click.option("--steps", default=200, show_default=True, help="Updates.")
@click.option("--batch", default=64, show_default=True, help="Texts a step.")
@click.option("--learning-rate", default=0.05, show_default=True, help="Larger leaves the reference policy sooner.")
@click.option("--kl-weight", default=0.02, show_default=True, help="Penalty on the KL; 0: none.")
@click.option(
    "--shaping",
    type=click.Choice(["none", "center", "sigmoid"]),
    default="none",
    show_default=True,
    help="What becomes of the reward; sigmoid stops paying once a text is better than most.",
)
@_options.latent_penalty
@click.option("--latents", is_flag=True, help="Keep the model's latents of every step, for detectors.")
@_options.embedding
@_options.seed
@_options.json_output
def command(
    model: str,
    output: str,
    algorithm: Literal["reinforce", "ppo"],
    steps: int,
    batch: int,
    learning_rate: float,
    kl_weight: float,
    shaping: Literal["none", "center", "sigmoid"],
    latent_penalty: float,
    latents: bool,
    source: _options.Source,
    seed: int,
    as_json: bool,
) -> None:
    """Train the simulated world's policy against a model's reward, and watch the gold.

    The folder gets trajectory.jsonl, a line a step, and trajectory.svg: gold and proxy against KL.

    Examples:
      embrm rl model -o trained --steps 50 --batch 16
      embrm rl model -o restrained --steps 50 --batch 16 --latent-penalty 0.1
    """
    from pathlib import Path

    from tqdm import tqdm

    from embrm import embedders
    from embrm.heads._saved import load_model
    from embrm.policies._trajectory import Step
    from embrm.policies.training import PolicyGradient
    from embrm.report.figures import save
    from embrm.report.path import along_kl
    from embrm.world import World, shipped
    from embrm.world.penalty import LatentPenalty
    from embrm.world.runs import latents_of, rewarded_by

    training = PolicyGradient(
        algorithm=algorithm,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        kl_weight=kl_weight,
        shaping=shaping,
    )
    fitted = load_model(model)
    embedder = source.reading(fitted)["embedder"]
    reward = rewarded_by(fitted, embedder)
    if latent_penalty:
        data = shipped.load(embedders.registry.name_of(embedder))
        reward = LatentPenalty.of(fitted, data, weight=latent_penalty).from_reward(reward, embedder)
    with tqdm(total=training.steps, unit="step", disable=not sys.stderr.isatty()) as bar:

        def show(step: Step) -> None:
            bar.set_postfix(kl=f"{step.kl:.2f}", proxy=f"{step.proxy:.2f}", gold=f"{step.gold:.2f}", refresh=False)
            bar.update()

        run = training.train(
            World.load(),
            reward,
            seed=seed,
            latent=latents_of(fitted, embedder) if latents else None,
            folder=output,
            on_step=show,
        )
    figure = Path(output) / "trajectory.svg"
    save(along_kl([vars(step) for step in run.steps]), figure)
    first, last = run.steps[0], run.steps[-1]
    columns = ("step", "kl", "proxy", "gold")
    rows = [[getattr(step, name) for name in columns] for step in (first, last)]
    summary = {"output": output, "steps": len(run), "first": rows[0], "last": rows[1], "figure": str(figure)}
    _render.emit(summary, f"{_render.table(columns, rows)}\nfigure: {figure}", as_json=as_json)
