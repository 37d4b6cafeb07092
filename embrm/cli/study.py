"""`embrm study`."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from embrm.cli import _options, _render
from embrm.cli._progress import is_quiet, is_watched
from embrm.core.progress import watching
from embrm.core.visible import escaped

if TYPE_CHECKING:
    from embrm.study.config import StudyConfig
    from embrm.study.results import Results
    from embrm.study.runner.run import Progress

PAUSE = 10.0  # seconds between two lines of progress where nobody looks at a terminal


@click.command()
@click.argument("of", metavar="[RUN]", required=False)
@click.option("--config", default="laptop", show_default=True, metavar="NAME|FILE", help="laptop, ci, or a YAML file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value, such as pairs=[500].")
@click.option("-o", "--output", default="runs/study", show_default=True, metavar="FOLDER", help="Where results go.")
@click.option(
    "--init",
    multiple=True,
    metavar="FILE",
    help="Only write a configuration for your preferences or pools (give both for one of both), to -o or the screen.",
)
@click.option("--more-seeds", type=click.IntRange(min=1), metavar="N", help="Extend RUN by so many seeds.")
@click.option("--plan", "planning", is_flag=True, help="Say what it takes to decide what RUN left open.")
@click.option("--dry-run", is_flag=True, help="Say what would be computed and how long it would take.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="What computes."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes that compute; one a core unless given.")
@click.option("--only", multiple=True, metavar="CLAIM", help="Compute what this claim needs, such as C2; repeatable.")
@click.option(
    "--cell-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="A cell whose fit, or whose measuring, takes longer fails alone.",
)
@_options.track
@click.option(
    "--seed", type=_options.SEED, default=0, show_default=True, help="Added to every seed of the configuration."
)
@_options.json_output
@click.pass_context
def command(
    ctx: click.Context,
    of: str | None,
    config: str,
    overrides: tuple[str, ...],
    output: str,
    init: tuple[str, ...],
    more_seeds: int | None,
    planning: bool,
    dry_run: bool,
    engine: Literal["local", "ray"],
    workers: int | None,
    only: tuple[str, ...],
    cell_timeout: float | None,
    track: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train heads, follow each until it is hacked, judge the published claims, and write a report.

    Without arguments on the data that come with the project: no model, network or GPU is needed. A run that was
    stopped, however, goes on where it was; a cell that failed is tried again.

    Examples:
      embrm study --config ci -o report
      embrm study --dry-run --set pairs=[500,1000]
      embrm study --init prefs.jsonl -o mine.yaml
      embrm study runs/study --more-seeds 10
      embrm study --plan runs/study
    """
    if init:
        given = ctx.get_parameter_source("output") is not ParameterSource.DEFAULT
        _begin(init, output if given else None, as_json=as_json)
        return
    from embrm.integrations.tracking import tracking
    from embrm.study.config import load_config
    from embrm.study.runner.run import run

    folder = Path(of or output)
    if planning:
        _needs(folder, as_json=as_json)
        return
    if of is None and more_seeds is None:
        loaded = _seeded(load_config(config, overrides), seed)
    else:
        given = ctx.get_parameter_source("config") is not ParameterSource.DEFAULT or bool(overrides)
        loaded = _extended(folder, _seeded(load_config(config, overrides), seed) if given else None, more_seeds)
    if dry_run:
        _foretell(loaded, folder, only, workers, as_json=as_json)
        return
    with tracking(track, folder) as tracked:
        with _bar() as bar:

            def progress(done: float, total: float, text: str, left: float) -> None:
                bar(done, total, text, left)
                tracked.log(round(done), {"share done": done / total})

            results = run(
                loaded, folder, engine=engine, workers=workers, only=only, cell_timeout=cell_timeout, progress=progress
            )
        effects = _reported(results, folder)
        tracked.log(round(results.environment["seconds"]), effects)
        for cell, why in results.failures.items():
            tracked.alert(0, f"failed: {cell}: {why}")
    report = folder / "report.html"
    fits = sum(row.cell.kind == "fit" for row in results.rows)
    seconds = results.environment["seconds"]
    text = f"{len(results.rows)} cells, {fits} fits, {seconds:.0f} s in all\nreport: {report}"
    rows = {"rows": len(results.rows), "fits": fits, "seconds": seconds, "failures": results.failures}
    _render.emit({"report": str(report), **rows}, text, as_json=as_json)
    for cell, why in results.failures.items():
        click.echo(escaped(f"failed: {cell}: {why}"), err=True)
    if results.failures:
        click.echo(f"error: {len(results.failures)} cells failed, see {folder / 'log.txt'}", err=True)
        ctx.exit(1)


def _extended(folder: Path, asked: StudyConfig | None, more: int | None) -> StudyConfig:
    """Return the configuration of a run with more seeds; one that was asked for must be the same."""
    from embrm.study.results import Results
    from embrm.study.runner.extension import check_same, with_more_seeds

    before = Results.load(folder).config
    if asked is not None:
        check_same(asked, before)
    return before if more is None else with_more_seeds(before, more)


def _needs(folder: Path, *, as_json: bool) -> None:
    """Print how many topics and seeds each claim of a run takes, and what that costs."""
    from embrm.study.results import Results
    from embrm.study.runner.needs import needs

    found = needs(Results.load(folder))
    columns = ["claim", "data set", "verdict", "times the data", "clusters", "seeds", "core-seconds"]
    lines = [["–" if value is None else value for value in asdict(need).values()] for need in found]
    text = _render.table(columns, lines)
    text += (
        "\nclusters are topics, or prompts where a data set names none; – says that no number of them would decide it"
    )
    _render.emit({"needs": [asdict(need) for need in found]}, text, as_json=as_json)


def _begin(sources: tuple[str, ...], output: str | None, *, as_json: bool) -> None:
    """Write a configuration for files of the user's, or print it."""
    from embrm.core.files import check_writable, write_bytes
    from embrm.study.config_init import draft

    if output is not None:
        check_writable(output)
    made = draft(sources)
    text = made.yaml.rstrip()
    if output is not None:
        write_bytes(output, made.yaml.encode())
        text = f"{made.prompts} prompts, {made.pairs} pairs to train on → {output}\nnext: embrm study --config {output}"
    _render.emit({"config": output, **asdict(made)}, text, as_json=as_json)


def _seeded(config: StudyConfig, shift: int) -> StudyConfig:
    heads, experiments = (
        [p.model_copy(update={"seeds": p.seeds and [seed + shift for seed in p.seeds]}) for p in parts]
        for parts in (config.heads, config.experiments)
    )
    rl = config.rl and config.rl.model_copy(update={"seeds": [seed + shift for seed in config.rl.seeds]})
    changed = {"heads": heads, "experiments": experiments, "rl": rl}
    return config.model_copy(update={"seeds": [seed + shift for seed in config.seeds], **changed})


def _foretell(config: StudyConfig, folder: Path, only: tuple[str, ...], workers: int | None, *, as_json: bool) -> None:
    """Print how many cells of each kind and head are missing, and how long they will take."""
    from joblib import cpu_count

    from embrm.study.runner.costs import Costs
    from embrm.study.runner.plan import check_heads, plan
    from embrm.study.runner.run import kept_of, missing_of, part_of

    check_heads(config, config.heads)
    costs, wanted = Costs.of(config, folder), part_of(plan(config), only)
    missing = missing_of(wanted, kept_of(wanted, folder, None, {}))
    cells: Counter[tuple[str, str]] = Counter()
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    for batch in wanted.batches:
        line = (batch.kind, batch.title or "oracle, length, random")
        cells[line] += len(batch.cells)
        seconds[line] += costs.seconds(batch) if batch in missing else 0.0
    fits, total, count = sum(n for (kind, _), n in cells.items() if kind == "fit"), sum(seconds.values()), workers
    count = count or cpu_count()
    table = _render.table(["kind", "head", "cells", "core-seconds"], [[*at, n, seconds[at]] for at, n in cells.items()])
    text = f"{table}\n{cells.total()} cells, {fits} fits; what is missing takes about {total / count:.0f} s"
    lines = [{"kind": at[0], "head": at[1], "cells": n, "core_seconds": seconds[at]} for at, n in cells.items()]
    about = {"cells": cells.total(), "fits": fits, "core_seconds": total, "workers": count, "by_head": lines}
    _render.emit(about, f"{text} with {count} workers", as_json=as_json)


def _reported(results: Results, folder: Path) -> dict[str, float]:
    """Write claims.json and the report, unless they are those of these very results; return the claims' effects."""
    from embrm.report import study
    from embrm.study import claims

    rows = results.digest
    if study.rows_of(folder) == rows and claims.rows_of(folder) == rows:
        return {}
    found = claims.findings(results)
    claims.write(found, folder, rows=rows)
    study.write(results, folder, found)
    return {f"effect/{line.name}": line.effect for line in found if line.effect is not None}


@contextmanager
def _bar() -> Iterator[Progress]:
    """Give what shows progress: a bar on a terminal, a line now and then elsewhere."""
    if not is_watched():
        yield _silence if is_quiet() else _lines()
        return
    from tqdm import tqdm

    with watching(None), tqdm(total=1.0, bar_format="{percentage:3.0f} %|{bar}| {postfix} [{elapsed}]") as bar:

        def show(done: float, total: float, text: str, left: float) -> None:
            bar.set_postfix_str(f"{text}, {_about(left)} to go", refresh=False)
            bar.update(done / total - bar.n)

        yield show


def _silence(done: float, total: float, text: str, left: float) -> None:
    """Say nothing."""


def _lines() -> Progress:
    begin = last = time.monotonic()

    def show(done: float, total: float, text: str, left: float) -> None:
        nonlocal last
        now = time.monotonic()
        if done > 0.999 * total or now - last >= PAUSE:
            last = now
            click.echo(f"· {text}, {now - begin:.0f} s, {_about(left)} to go", err=True)

    return show


def _about(seconds: float) -> str:
    """Return a time that is estimated, in the unit that a reader would take."""
    size, unit = next(((size, unit) for size, unit in ((3600, "h"), (60, "min")) if seconds >= 2 * size), (1, "s"))
    return f"about {seconds / size:.0f} {unit}"
