"""`embrm claims`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from embrm.cli import _options, _render
from embrm.core.visible import escaped

if TYPE_CHECKING:
    from embrm.study.claims import DefenceMatrix, Finding

HEADER = ["after Holm", "claim", "data set", "where", "effect", "95 %", "of interest", "n × seeds", "alone"]
SHOWN = 60  # characters of a claim


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--expect", metavar="FILE", help="YAML, claim to verdict: exit with 1 where one is not as expected.")
@click.option("--write-expected", "record", metavar="FILE", help="Write this run's verdicts as such a file.")
@click.option("--rows", is_flag=True, help="Print a line for each mechanism and channel instead of one a claim.")
@click.option("--reasons", is_flag=True, help="Print below the table what each verdict rests on.")
@click.option(
    "--output-format",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="github: what differs from --expect as annotations of a workflow.",
)
@_options.no_seed
@_options.json_output
@click.pass_context
def command(
    ctx: click.Context,
    run: str,
    expect: str | None,
    record: str | None,
    rows: bool,
    reasons: bool,
    output_format: Literal["text", "github"],
    as_json: bool,
) -> None:
    """Say what helps against which hack, and which published claims a study's results support.

    RUN is the folder that `embrm study -o` wrote. First what each defence does to the gold under each mechanism, in
    units of what the standard head gains at its peak; then one line a claim. Verdicts are those after Holm's
    correction; an undecided one says how many times as many topics and seeds it would take.

    Examples:
      embrm claims runs/study
      embrm claims runs/study --rows --reasons
      embrm claims runs/study --expect expected.yaml --output-format github
    """
    from pathlib import Path

    from embrm.core.files import check_writable
    from embrm.study import claims
    from embrm.study.results import Results

    expected = {} if expect is None else claims.read_expected(expect)
    if record is not None:
        check_writable(record)
    found = claims.findings(Results.load(Path(run)))
    differing = claims.differing(found, expected)
    if record is not None:
        claims.write_expected(record, found)
    text = [_matrix(matrix) for matrix in claims.matrices(found)]
    text.append(_render.table(HEADER, [_row(finding) for finding in found]) if rows else _summaries(found))
    if reasons:
        text.append("\n".join(f"{f.name}: {f.reason}" for f in found))
    _render.emit({"run": run, "findings": found, "differing": differing}, "\n\n".join(text), as_json=as_json)
    for line in differing:
        annotated = f"::error title={_escaped(line.partition(' is ')[0], ':,')}::{_escaped(line)}"
        click.echo(annotated if output_format == "github" else escaped(f"differs: {line}"), err=True)
    if differing:
        ctx.exit(1)


def _matrix(matrix: DefenceMatrix) -> str:
    return f"{matrix.title}\n{_render.table(['', *matrix.mechanisms], matrix.lines)}"


def _summaries(found: Sequence[Finding]) -> str:
    from embrm.study.claims import summaries

    told = list(summaries(found))
    ran = [s for s in told if s.verdict != "not run"]
    lines = [[s.verdict, s.first.id, s.first.dataset, _short(s.first.claim), s.cases] for s in ran]
    rest = [
        f"not run on {dataset}: {', '.join(s.first.id for s in told if s.first.dataset == dataset and s not in ran)}"
        for dataset in dict.fromkeys(s.first.dataset for s in told if s not in ran)
    ]
    more = ["what each lacks is said by --reasons"] if rest else []
    return "\n".join([_render.table(["after Holm", "id", "data set", "claim", "where"], lines), *rest, *more])


def _row(finding: Finding) -> list[object]:
    effect, interval, size = "–", "–", "–"
    if finding.effect is not None:
        effect, low, high = (_render.cell(value) for value in (finding.effect, finding.low, finding.high))
        interval, size = f"{low} … {high}", f"{finding.n} × {finding.seeds}"
    smallest = "–" if finding.smallest is None else _render.cell(finding.smallest)
    where = finding.where or "–"
    return [finding.word, finding.id, finding.dataset, where, effect, interval, smallest, size, finding.verdict]


def _short(claim: str) -> str:
    return claim if len(claim) <= SHOWN else f"{claim[: SHOWN - 1].rstrip()}…"


def _escaped(text: str, more: str = "") -> str:
    """Return a text as a workflow command takes it, which would end at a line's end."""
    for sign in ("%", "\r", "\n", *more):
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text
