"""`embrm compare`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render, _rows
from embrm.cli._progress import is_watched
from embrm.core.device import DEVICES, VARIABLE, use_device
from embrm.core.progress import watching
from embrm.core.visible import escaped

if TYPE_CHECKING:
    from embrm.data.faults import RowRules
    from embrm.evaluation.compare import FitProgress


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--head",
    "typed",
    multiple=True,
    required=True,
    metavar="NAME[:OPTIONS]",
    help="A head, such as inform or 'inform:beta=0.01,members=5'; repeatable. Options given here are not tuned.",
)
@click.option(
    "--linear/--no-linear",
    default=True,
    show_default=True,
    help="Put the tuned linear head first, unless a linear head is among those given.",
)
@click.option(
    "--folds", type=_options.whole(), default=5, show_default=True, help="In how many parts the prompts are split."
)
@click.option(
    "--seeds",
    type=_options.whole(),
    default=1,
    show_default=True,
    help="How often all is repeated, with other folds and fits.",
)
@click.option(
    "--budget",
    type=_options.whole(),
    default=3,
    show_default=True,
    help="Recipes tried for each head in each fold; 1: no tuning.",
)
@click.option("-o", "--output", metavar="PATH", help="Write the table there: .md, .csv, .html or .json.")
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    envvar=VARIABLE,
    show_envvar=True,
    help="Where heads trained by gradient compute; auto: on CUDA if it is there.",
)
@_options.workers
@_rows.options
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    file: str,
    typed: tuple[str, ...],
    linear: bool,
    folds: int,
    seeds: int,
    budget: int,
    output: str | None,
    device: str,
    workers: int | None,
    source: _options.SourceOptions,
    rules: RowRules,
    seed: int,
    as_json: bool,
) -> None:
    """Compare heads on your own preferences, by cross-validation over prompts.

    FILE has pairs (prompt, chosen, rejected), or another layout that gives pairs (`embrm data layouts`). Every head is
    tuned with the same budget on validation prompts inside each fold, and judged on the prompts that were held out.
    Accuracy, negative log-likelihood (nats) and calibration error come with differences from the first head: 95 %
    intervals over prompts, p-values after Holm's correction. The lines length and random say what needs no training.

    Example:
      embrm compare prefs.jsonl --head mlp --head inform:members=5 -o table.md
    """
    from embrm import heads
    from embrm.data.read import as_pairs
    from embrm.data.texts import read_texts
    from embrm.evaluation.compare import compare_heads
    from embrm.heads.linear import Linear
    from embrm.report import comparison

    click.get_current_context().with_resource(use_device(device))
    wanted: dict[str, heads.Head] = _options.recipes(heads.registry, typed)
    if linear and not any(isinstance(head, Linear) for head in wanted.values()):
        wanted = {"linear": Linear(), **wanted}
    if output is not None:
        comparison.check(output)
    texts = read_texts(file, kind="pairs", rules=rules)
    data = as_pairs(texts, views={view for head in wanted.values() for view in head.reads}, **source.reading())
    with _progress() as progress:
        how: dict[str, Any] = {"folds": folds, "seeds": seeds, "budget": budget, "workers": workers, "seed": seed}
        found = compare_heads(wanted, data, progress=progress, **how)
    told, read = _rows.account(texts.account, len(texts.rows), len(data), rules)
    lines = [read, comparison.title(found), _render.table(*comparison.cells(found))]
    if output is not None:
        comparison.save(found, output)
        lines.append(f"table: {output}")
    for name, why in found.failures.items():
        click.echo(escaped(f"warning: {name} could not be fitted: {why}"), err=True)
    _render.emit({"file": file, "output": output, "data": told, **found.as_dict()}, "\n".join(lines), as_json=as_json)


@contextmanager
def _progress() -> Iterator[FitProgress]:
    """Give what shows progress: a bar where it is watched, nothing elsewhere."""
    if not is_watched():
        yield lambda done, total, text: None
        return
    from tqdm import tqdm

    with tqdm(unit="fold") as bar, watching(None):

        def show(done: int, total: int, text: str) -> None:
            bar.total = total
            bar.set_postfix_str(text, refresh=False)
            bar.update(done - bar.n)

        yield show
