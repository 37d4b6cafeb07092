"""`embrm rewardbench`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render

if TYPE_CHECKING:
    from embrm.integrations.rewardbench import BenchReport
    from embrm.metrics.intervals import Interval


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--model", "models", multiple=True, required=True, metavar="MODEL", help="A model; give several to compare them."
)
@_options.embedding
@_options.seed
@_options.json_output
def command(file: str, models: tuple[str, ...], source: _options.SourceOptions, seed: int, as_json: bool) -> None:
    """Score models on a local file of RewardBench 1 or 2, RM-Bench or JudgeBench; say whether they differ.

    FILE is as published, told by its columns: prompt, chosen, rejected, subset; in version 2 chosen and rejected are
    lists, in RM-Bench lists of three styles with domain; JudgeBench has question, response_A, response_B, label. The
    reward is the mean over members. Scores are in percent with 95 % intervals over prompts; the line length prefers the
    longest response. Each further model is compared with the first on the same rows, by the bootstrap and by McNemar's
    exact test. Rows that a model was trained on are told, and the others reported apart.

    Example:
      embrm rewardbench rewardbench.jsonl --model model
    """
    import numpy as np

    from embrm.errors import DataError
    from embrm.evaluation.scorer import Scorer
    from embrm.integrations.rewardbench import bench_report, read_bench

    scorers = {model: Scorer.open(model, reading=source.reading) for model in models}
    read = {keep: read_bench(file, keep_system=keep) for keep in {scorer.keep_system for scorer in scorers.values()}}
    rewards = {model: scorer.reward(read[scorer.keep_system].texts).mean for model, scorer in scorers.items()}
    bench = next(iter(read.values()))
    rewards["length"] = np.array([len(response) for response in bench.texts.responses], dtype=np.float64)
    found = bench_report(bench, rewards, seed=seed)
    overlaps = {model: read[scorer.keep_system].overlap(scorer.model) for model, scorer in scorers.items()}
    known = {model: overlap for model, overlap in overlaps.items() if overlap is not None}
    for model, overlap in known.items():
        overlap.warn(model)
    seen = np.logical_or.reduce([overlap.seen for overlap in known.values()]) if known else np.zeros(len(bench), bool)
    text, rest = _text(found), None
    if 0 < seen.sum() < len(bench):
        own = np.repeat(~seen, np.diff(bench.texts.offsets))
        with suppress(DataError):  # all that are left belong to one prompt
            rest = bench_report(bench.take(~seen), {name: r[own] for name, r in rewards.items()}, seed=seed)
            text += f"\n\nrows that no model was trained on:\n{_text(rest)}"
    training = {model: overlap.as_dict() for model, overlap in known.items()}
    _render.emit({"file": file, "report": found, "training": training, "unseen": rest}, text, as_json=as_json)


def _text(report: BenchReport) -> str:
    first = next(iter(report.scores))
    names = list(report.scores[first])
    rows = [[name, *(_percent(scores[name]) for scores in report.scores.values())] for name in names]
    lines = [
        f"{report.name}: {report.rows} rows of {report.prompts} prompts",
        _render.table(["%", *report.scores], rows),
        "",
        *(
            f"{name} minus {first}: {_percent(d.scores['overall'])}; {d.gained} rows gained, {d.lost} lost, "
            f"McNemar p = {_render.cell(d.p_value)}"
            for name, d in report.differences.items()
        ),
        *report.notes,
    ]
    return "\n".join(lines)


def _percent(line: Interval) -> str:
    value, low, high = (_render.cell(100 * float(x)) for x in (line.estimate, line.low, line.high))
    return f"{value} ({low} … {high})"
