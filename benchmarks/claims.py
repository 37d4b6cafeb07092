"""The README's table of claims, from the folders of one or several studies.

    embrm study --config laptop -o runs/laptop
    python benchmarks/claims.py runs/laptop

Of a data set that is in several folders the last one counts. The table stands between two marks in README.md; all else
there stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from embrm.core.files import write_bytes
from embrm.study import claims
from embrm.study.claims import DefenceMatrix, Finding
from embrm.study.results import Results

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- claims -->", "<!-- /claims -->"


def main() -> None:
    """Read the runs and write their table."""
    parser = argparse.ArgumentParser(description="Write the claims of studies into a README.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a study")
    parser.add_argument("--readme", type=Path, default=README)
    args = parser.parse_args()
    of_dataset: dict[str, list[Finding]] = {}
    for run in args.runs:
        of_run: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in claims.findings(Results.load(run)):
            of_run[finding.dataset].append(finding)
        of_dataset |= of_run
    text = args.readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{args.readme} has no place for the table; put the lines {BEGIN} and {END} where it should stand")
    body = "\n\n".join(section(dataset, found) for dataset, found in of_dataset.items())
    write_bytes(args.readme, f"{before}{BEGIN}\n{body}\n{END}{after}".encode())


def section(dataset: str, found: Sequence[Finding]) -> str:
    """Return what helps on a data set, a line for each claim, and folded all rows with what they rest on."""
    counts = Counter(finding.holm for finding in found)
    decided = sum(finding.decided for finding in found)
    tally = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    parts = [f"**{dataset}**: of {len(found)} rows {decided} are decided ({tally})."]
    parts += [matrix(one) for one in claims.matrices(found)]
    lines = [
        [s.first.id, s.first.claim, s.verdict, s.cases, "; ".join(dict.fromkeys(row.source for row in s.rows))]
        for s in claims.summaries(found)
    ]
    parts.append(table(["", "claim", "after Holm", "where", "source"], lines))
    head = ["", "where", "effect, 95 %", "smallest of interest", "detectable", "n × seeds", "alone", "after Holm"]
    reasons = "\n".join(f"- **{f.id}** {f.where}: {f.word}. {f.reason}" for f in found)
    parts += ["<details><summary>Every row, and what it rests on</summary>", table(head, map(row, found))]
    return "\n\n".join([*parts, reasons, "</details>"])


def matrix(one: DefenceMatrix) -> str:
    """Return what each defence does under each mechanism."""
    lines = [
        [defence, *(claims.effect_on_gold(f) if (f := one.findings.get((defence, m))) else "–" for m in one.mechanisms)]
        for defence in one.defences
    ]
    title = f"*{one.title}*: gold of each defence minus the standard head's, in units of that one's gain."
    return f"{title}\n\n{table(['', *one.mechanisms], lines)}"


def row(finding: Finding) -> list[str]:
    """Return a finding's line of the table of all rows."""
    numbers = ["–", "–", "–", "–"]
    if finding.effect is not None and finding.low is not None and finding.high is not None:
        numbers = [
            f"{finding.effect:.3g} [{finding.low:.3g}, {finding.high:.3g}]",
            "–" if finding.smallest is None else f"{finding.smallest:.2g}",
            f"{finding.detectable:.2g}",
            f"{finding.n} × {finding.seeds}",
        ]
    return [finding.id, finding.where, *numbers, finding.verdict, finding.word]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in rows]
    lines = [list(head), ["---"] * len(head), *escaped]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
