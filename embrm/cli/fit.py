"""`embrm fit`."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render, _rows
from embrm.core.device import DEVICES, VARIABLE, use_device
from embrm.core.processes import use_workers

if TYPE_CHECKING:
    from embrm.core.data import Pairs
    from embrm.data.faults import RowRules
    from embrm.heads import FittedHead, Head

TWO_VIEWS = ("joint", "response")  # of heads that label for each other


@click.command()
@click.argument("pairs", metavar="PAIRS")
@click.option("--head", default="inform", show_default=True, metavar="NAME", help="Which head (`embrm list heads`).")
@_options.settings
@click.option(
    "--by",
    type=click.Choice(["annotator"]),
    help="Fit the head to each annotator's pairs: --head annotators with this head as its base.",
)
@click.option("-o", "--output", metavar="FOLDER", required=True, help="The folder for the model.")
@click.option(
    "--holdout",
    type=_options.Number(),
    default=0.2,
    show_default=True,
    help="Share of the prompts that is not trained on but measured; 0: none.",
)
@click.option(
    "--unlabelled",
    metavar="FILE",
    help="Pairs whose order means nothing, in the same layout: two such heads, which read joint and response (or the "
    "members of --head ensemble), also learn from those on which they agree.",
)
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
@_rows.stream
@click.option("--steps", is_flag=True, help="PAIRS holds labelled steps: train a reward of steps on their prefixes.")
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    pairs: str,
    head: str,
    options: tuple[str, ...],
    by: str | None,
    output: str,
    holdout: float,
    unlabelled: str | None,
    device: str,
    workers: int | None,
    source: _options.SourceOptions,
    rules: RowRules,
    stream: bool,
    steps: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Train a reward head on preference pairs, and measure it on held-out prompts.

    PAIRS is JSON, JSON Lines, CSV, Parquet or Arrow, packed or not, with TRL's columns prompt, chosen, rejected (text
    or messages) or in another layout (`embrm data layouts`); a folder or pattern of such files; - for standard input;
    or the id of a hub dataset (OWNER/NAME, OWNER/NAME:SPLIT or OWNER/NAME:CONFIGURATION/SPLIT).

    Examples:
      embrm fit prefs.jsonl --head linear -o model
      embrm fit traces.jsonl --steps --head linear -o model
      embrm fit votes.jsonl --head laplace --by annotator -o annotators
      embrm fit prefs.jsonl --head linear --unlabelled more.jsonl -o model
    """
    from embrm import heads
    from embrm.core.files import check_writable
    from embrm.core.recipe import changed
    from embrm.errors import DataError, OptionError
    from embrm.evaluation.reports import Fits, fit_and_check
    from embrm.heads.ensemble import Ensemble
    from embrm.training.self_training import SelfTraining

    context = click.get_current_context()
    context.with_resource(use_device(device))
    context.with_resource(use_workers(workers))
    recipe = _options.recipe(heads.registry, head, options)
    recipe = recipe if by is None else heads.get("annotators")(base=recipe)
    several = recipe if isinstance(recipe, Ensemble) else None
    if unlabelled is not None and several is None:
        recipe = several = Ensemble(base=recipe, members=2, diversity="embedder", views=TWO_VIEWS)
    check_writable(output, folder=True)
    if steps and unlabelled is not None:
        raise OptionError("--steps learns from labelled steps, and --unlabelled are pairs; give one of both")
    if steps:
        _fit_steps(pairs, changed(recipe, {"loss": "step"}), output, (source, rules, stream, holdout, seed, as_json))
        return
    data, account = _pairs(pairs, recipe, source=source, rules=rules, stream=stream)
    if recipe.config()["name"] == "annotators" and data.annotator is None:
        raise DataError(f"no row of {pairs} names an annotator; say in which column they are: --columns annotator=NAME")
    learner: Fits[FittedHead] = recipe
    if unlabelled is not None and several is not None:
        more, _ = _pairs(unlabelled, recipe, source=source, rules=rules, stream=stream)
        learner = SelfTraining(several, more)
    model, report = fit_and_check(learner, data, seed=seed, fraction=holdout)
    told, read = _rows.account(account, account.pop("read"), len(data), rules)
    measured = report.as_dict() if report else None
    model = dataclasses.replace(model, record={**model.record, "data": told, "held_out": measured})
    model.save(output)
    lines = [f"{head}: {len(data)} pairs of {len(data.features)} texts → {output}", read]
    if unlabelled is not None:
        last = model.record["self_training"][-1]
        lines.append(f"of {last['of']} unlabelled pairs {last['agreed']} agreed about, {last['disagreed']} disagreed")
    lines += [f"{name}: {model.record[name]}" for name in ("epochs", "prior_precision") if name in model.record]
    if "annotators" in model.record:
        lines.append(_annotators(model, data))
    lines.append(_render.pair_table(report) if report else "no prompts were held out, so nothing was measured")
    made = model.embedder.as_json()
    summary = {"model": output, "head": head, "embedder": made, "pairs": len(data), "texts": len(data.features)}
    summary |= {"record": model.record}
    _render.emit(summary, "\n".join(lines), as_json=as_json)


def _annotators(model: FittedHead, data: Pairs) -> str:
    """Return how many pairs of each annotator were trained on; those without any are warned of."""
    rows = [[each["name"], each["pairs"]] for each in model.record["annotators"]]
    lost = sorted(set(data.annotator.tolist() if data.annotator is not None else []) - {name for name, _ in rows})
    if lost and "others" not in dict(rows):
        warnings.warn(
            f"all pairs of {', '.join(lost)} were held out, so that the model has no reward of theirs; --holdout 0 "
            "trains on all pairs",
            stacklevel=2,
        )
    return _render.table(["annotator", "training pairs"], rows)


def _pairs(
    file: str, head: Head, *, source: _options.SourceOptions, rules: RowRules, stream: bool
) -> tuple[Pairs, dict[str, Any]]:
    """Return the pairs of a file, and what became of its rows; `read` counts those that may have become equal."""
    from embrm.data.read import as_pairs
    from embrm.data.stream import stream_pairs
    from embrm.data.texts import read_texts
    from embrm.errors import OptionError

    if not stream:
        texts = read_texts(file, kind="pairs", rules=rules)
        data = as_pairs(texts, views=head.reads, **source.reading())
        return data, {**texts.account, "read": len(texts.rows)}
    if source.features is not None:
        raise OptionError("--stream embeds a file in blocks, and --features are of a whole file; give one of both")
    return stream_pairs(file, embedder=source.embedder_of(), views=head.reads, rules=rules)


def _fit_steps(file: str, head: Head, output: str, typed: tuple[Any, ...]) -> None:
    """Train a reward of steps, and measure it on held-out prompts."""
    from embrm.data.texts import read_texts
    from embrm.data.traces import as_traces
    from embrm.errors import OptionError
    from embrm.evaluation.steps import fit_and_check_steps

    source, rules, stream, holdout, seed, as_json = typed
    if stream:
        raise OptionError("--stream reads preference pairs; leave it out with --steps")
    texts = read_texts(file, kind="traces", rules=rules)
    data = as_traces(texts, views=head.reads, **source.reading())
    model, report = fit_and_check_steps(head, data, seed=seed, fraction=holdout)
    told = {**texts.account, "traces": len(data), "prefixes": len(data.features), **rules.record}
    measured = report.as_dict() if report else None
    model = dataclasses.replace(model, record={**model.record, "data": told, "held_out": measured})
    model.save(output)
    lines = [f"{len(data)} traces, {len(data.features)} prefixes → {output}", f"read as {told['layout']}"]
    lines.append(_render.step_table(report) if report else "no prompts were held out, so nothing was measured")
    summary = {"model": output, "head": head.config()["name"], "embedder": model.embedder.as_json(), **told}
    _render.emit({**summary, "record": model.record}, "\n".join(lines), as_json=as_json)
