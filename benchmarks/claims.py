"""The README's table of claims, from the folders of one or several studies.

    embrm study --config laptop -o runs/laptop
    python benchmarks/claims.py runs/laptop

Of a data set that is in several folders the last one counts. The table stands between two marks in README.md; all else
there stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from embrm.core.files import write_bytes
from embrm.study import claims
from embrm.study.claims import Finding
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
        for finding in claims.findings(Results.load(run)):
            if finding.id == claims.names()[0]:
                of_dataset[finding.dataset] = []
            of_dataset[finding.dataset].append(finding)
    text = args.readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{args.readme} has no place for the table; put the lines {BEGIN} and {END} where it should stand")
    body = "\n\n".join(section(dataset, found) for dataset, found in of_dataset.items())
    write_bytes(args.readme, f"{before}{BEGIN}\n{body}\n{END}{after}".encode())


def section(dataset: str, found: Sequence[Finding]) -> str:
    """Return a data set's table, and below it what each verdict rests on."""
    counts = Counter(finding.verdict for finding in found)
    tally = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    head = "| | claim | source | effect, 95 % | minimum detectable effect | n × seeds | verdict | after Holm |"
    rows = [head, "|---" * 8 + "|", *map(row, found)]
    reasons = [f"- **{finding.id}** {finding.verdict}. {finding.reason}" for finding in found]
    folded = ["<details><summary>What each verdict rests on</summary>", "", *reasons, "", "</details>"]
    return "\n".join([f"**{dataset}**: {tally}.", "", *rows, "", *folded])


def row(finding: Finding) -> str:
    """Return a claim's line of the table."""
    numbers = ["–", "–", "–", "–"]
    if finding.effect is not None and finding.low is not None and finding.high is not None:
        numbers = [
            f"{finding.effect:.3g} [{finding.low:.3g}, {finding.high:.3g}]",
            f"{finding.detectable:.2g}",
            f"{finding.n} × {finding.seeds}",
            finding.holm,
        ]
    cells = [finding.id, finding.claim, finding.source, *numbers[:3], finding.verdict, numbers[3]]
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


if __name__ == "__main__":
    main()
