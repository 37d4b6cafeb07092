"""`embrm claims`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render
from embrm.core.visible import escaped

if TYPE_CHECKING:
    from embrm.study.claims import Finding

HEADER = ["id", "data set", "claim", "effect", "95 %", "n", "verdict", "after Holm"]
SHOWN = 60  # characters of a claim


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--expect", metavar="FILE", help="YAML, id to verdict: exit with 1 where one is not as expected.")
@click.option("--write-expected", "record", metavar="FILE", help="Write this run's verdicts as such a file.")
@click.option("--reasons", is_flag=True, help="Print below the table what each verdict rests on.")
@_options.no_seed
@_options.json_output
@click.pass_context
def command(ctx: click.Context, run: str, expect: str | None, record: str | None, reasons: bool, as_json: bool) -> None:
    """Say which published claims a study's results support.

    RUN is the folder that `embrm study -o` wrote. The last column is the verdict after Holm's correction over all
    claims of a data set.

    Examples:
      embrm claims runs/study
      embrm claims runs/study --expect expected.yaml
    """
    from pathlib import Path

    from embrm.core.files import check_writable
    from embrm.study import claims
    from embrm.study.results import Results

    expected = claims.read_expected(expect) if expect else {}
    if record:
        check_writable(record)
    found = claims.findings(Results.load(Path(run)))
    differing = claims.differing(found, expected)
    if record:
        claims.write_expected(record, found)
    text = _render.table(HEADER, [_row(finding) for finding in found])
    if reasons:
        text += "\n\n" + "\n".join(f"{f.dataset}/{f.id}: {f.reason}" for f in found)
    _render.emit({"run": run, "findings": found, "differing": differing}, text, as_json=as_json)
    for line in differing:
        click.echo(escaped(f"differs: {line}"), err=True)
    if differing:
        ctx.exit(1)


def _row(finding: Finding) -> list[object]:
    claim = finding.claim if len(finding.claim) <= SHOWN else f"{finding.claim[: SHOWN - 1].rstrip()}…"
    effect, interval = "–", "–"
    if finding.effect is not None:
        effect, low, high = (_render.cell(value) for value in (finding.effect, finding.low, finding.high))
        interval = f"{low} … {high}"
    after = "–" if finding.verdict == "not run" else finding.holm
    return [finding.id, finding.dataset, claim, effect, interval, finding.n or "–", finding.verdict, after]
