"""`embrm infer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("tuned", metavar="TUNED")
@click.argument("base", metavar="BASE")
@click.option(
    "--head",
    default="linear",
    show_default=True,
    metavar="NAME",
    help="What the reward is: any head of preferences infers it by maximum entropy, max_margin by maximum margin.",
)
@_options.settings
@click.option("--restarts", type=_options.whole(2), default=5, show_default=True, help="How many rewards to infer.")
@click.option(
    "--per-output", type=_options.whole(1), default=4, show_default=True, help="Base outputs to compare each one with."
)
@click.option("-o", "--output", metavar="FOLDER", required=True, help="The folder for the model.")
@_options.workers
@_rows.options
@_options.embedding
@_options.seed
@_options.json_output
def command(
    tuned: str,
    base: str,
    head: str,
    options: tuple[str, ...],
    restarts: int,
    per_output: int,
    output: str,
    workers: int | None,
    source: _options.SourceOptions,
    rules: RowRules,
    seed: int,
    as_json: bool,
) -> None:
    """Infer the reward that a policy was tuned for, from its outputs and those of its base.

    TUNED and BASE have pools or texts (prompt and response) of the two policies, sampled alike, to the same prompts,
    as `embrm generate` writes them. The model is one like any other, an ensemble of the rewards that explain the
    outputs equally well. `explained` says in nats how well held-out outputs are told apart (log 2 = 0.693 is all, 0 is
    nothing), and `agreement` on which share of them the rewards agree: elsewhere the outputs do not tell the reward.

    Example:
      embrm infer tuned.jsonl base.jsonl -o inferred
    """
    from dataclasses import replace

    import numpy as np

    from embrm import heads
    from embrm.core.data import Candidates
    from embrm.core.files import check_writable
    from embrm.core.processes import use_workers
    from embrm.data.read import as_candidates
    from embrm.data.texts import number_prompts, read_texts
    from embrm.errors import DataError
    from embrm.training.inverse import demonstrations, infer

    click.get_current_context().with_resource(use_workers(workers))
    recipe = _options.recipe(heads.registry, head, options)
    check_writable(output, folder=True)
    files = [read_texts(file, rules=rules) for file in (tuned, base)]
    for file, texts in zip((tuned, base), files, strict=True):
        if texts.kind == "pairs":
            raise DataError(
                f"{file} has pairs; give the outputs of one policy, as pools or as texts with a prompt each"
            )
    sides: list[Candidates] = []
    for texts, prompt in zip(files, number_prompts(*files), strict=True):
        made = as_candidates(texts, views=recipe.reads, **source.embedding())
        sides.append(replace(made, features=replace(made.features, prompt=prompt)))
    pairs = demonstrations(*sides, per_output=per_output, seed=seed)
    found = infer(pairs, head=recipe, restarts=restarts, seed=seed)
    told = {"files": [tuned, base], "outputs": [len(side.features) for side in sides], **found.as_dict()}
    model = replace(found.model, record={**found.model.record, "inferred": told})
    model.save(output)
    rows = [
        [i + 1, float(found.explained[i]), float(found.error[i]), "yes" if found.kept[i] else "no"]
        for i in range(restarts)
    ]
    text = (
        f"{head}: {len(sides[0].features)} tuned and {len(sides[1].features)} base outputs to "
        f"{len(np.unique(sides[0].features.prompt))} prompts → {output}\n"
        f"{_render.table(['restart', 'explained', 'error', 'kept'], rows)}\n"
        f"agreement of the kept: {found.agreement:.4g} of {found.held_out} held-out comparisons"
    )
    _render.emit({"model": output, "head": head, **told}, text, as_json=as_json)
