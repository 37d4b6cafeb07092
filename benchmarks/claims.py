"""The tables of docs/claims.md and README's lines on what the study found, from the folders of one or several studies.

    embrm study --config laptop -o runs/laptop
    python benchmarks/claims.py runs/laptop@8518093

What stands behind an @ is the commit that the run was made at. Of a claim that several folders have on one data set,
the last one that ran it counts. Both stand between marks; all else there stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from embrm.core.files import write_bytes
from embrm.study import claims
from embrm.study.claims import DefenceMatrix, Finding
from embrm.study.config import load_config
from embrm.study.results import Results

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ("quick", "ci", "laptop", "full")  # configurations that need no file of the user's
QUOTED = r"\b(C\d+) \(([^)]*)\)"  # a claim with its verdicts, in docs/map.md
TABLES, LINES = "claims", "findings"  # the marks: <!-- claims --> in the page, <!-- findings --> in README


def main() -> None:
    """Read the runs and write their tables and lines."""
    parser = argparse.ArgumentParser(description="Write the claims of studies into docs/claims.md and README.md.")
    parser.add_argument("runs", nargs="+", metavar="RUN[@COMMIT]", help="folder of a study, and where the code stood")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "claims.md", help="where the tables go")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="where the lines go")
    parser.add_argument("--map", type=Path, default=ROOT / "docs" / "map.md", help="where verdicts are quoted")
    parser.add_argument("--only-readme", action="store_true", help="leave the tables as they are")
    args = parser.parse_args()
    of_claim: dict[tuple[str, str], list[Finding]] = {}
    told = []
    for folder, at, commit in (run.rpartition("@") if "@" in run else (run, "", "") for run in args.runs):
        results = Results.load(Path(folder))
        told.append(provenance(results, commit if at else None))
        for key, rows in by_claim(claims.findings(results)).items():
            if key not in of_claim or any(row.verdict != "not run" for row in rows):
                of_claim[key] = rows
    of_dataset: defaultdict[str, list[Finding]] = defaultdict(list)
    for (dataset, _), rows in of_claim.items():
        of_dataset[dataset] += rows
    if not args.only_readme:
        tables = [section(dataset, found) for dataset, found in of_dataset.items()]
        put(args.page, TABLES, "\n\n".join([*told, *tables]))
        retell(args.map, of_dataset)
    lines = [f"- {summary(dataset, found)}" for dataset, found in of_dataset.items()]
    put(args.readme, LINES, "\n".join([*told, "", *lines]))


def by_claim(findings: Iterable[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Return (data set, claim's id) → its rows."""
    groups: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.dataset, finding.id].append(finding)
    return groups


def put(page: Path, mark: str, body: str) -> None:
    """Write a body between a page's marks."""
    text, begin, end = page.read_text(encoding="utf-8"), f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{page} has no place for it; put the lines {begin} and {end} where it should stand")
    write_bytes(page, f"{before}{begin}\n{body}\n{end}{after}".encode())


def retell(page: Path, of_dataset: Mapping[str, Sequence[Finding]]) -> None:
    """Write the verdicts where a page quotes a claim, as "C1 (fast mixed, world mixed)"."""
    verdicts: defaultdict[str, list[str]] = defaultdict(list)
    for dataset, found in of_dataset.items():
        for told in claims.summaries(found):
            if told.verdict != "not run":
                verdicts[told.first.id].append(f"{dataset} {told.verdict}")

    def quoted(match: re.Match[str]) -> str:
        return f"{match[1]} ({', '.join(verdicts[match[1]])})" if match[1] in verdicts else match[0]

    write_bytes(page, re.sub(QUOTED, quoted, page.read_text(encoding="utf-8")).encode())


def provenance(run: Results, commit: str | None) -> str:
    """Return which run it is: its configuration, fits, seeds, pairs, version, commit and day."""
    config, version = run.config, run.environment.get("versions", {}).get("embrm", "?")
    day = str(run.environment.get("finished", "?"))[:10]
    fits = len(list(run.select(kind="fit")))
    digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12]
    name = next((f"`{name}`" for name in WHOLE if load_config(name) == config), f"with the hash {digest}")
    return (
        f"Of a run of the configuration {name}: {fits} fits, {len(config.seeds)} seeds, "
        f"{' and '.join(map(str, config.pairs))} pairs, {day}, embrm {version}"
        f"{f' at commit {commit}' if commit else ''}."
    )


def summary(dataset: str, found: Sequence[Finding]) -> str:
    """Return a data set's line: which claims were decided after Holm, and the first one's effect by biased labels."""
    parts = []
    for verdict, number in Counter(finding.holm for finding in found).most_common():
        ids = dict.fromkeys(finding.id for finding in found if finding.holm == verdict)
        parts.append(f"{number} {verdict}" + ("" if verdict in ("inconclusive", "not run") else f" ({', '.join(ids)})"))
    hacked = [f for f in found if f.id == found[0].id and f.mechanism == "biased"]
    one = (hacked or found)[0]
    effect = "–" if one.effect is None else f"{one.effect:.2g} [{one.low:.2g}, {one.high:.2g}], {one.word} after Holm"
    return f"**{dataset}**, rows by verdict: {', '.join(parts)}. {one.id} {one.where}, “{one.claim}”: {effect}."


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
    return f"{one.title[:1].upper()}{one.title[1:]}.\n\n{table(['', *one.mechanisms], one.lines)}"


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
