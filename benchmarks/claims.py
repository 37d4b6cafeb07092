"""The tables of docs/claims.md, README's lines on what the study found, and the verdicts that docs/map.md quotes.

    embrm study --config laptop -o runs/laptop
    python benchmarks/claims.py runs/laptop --commit 1234abc    # keep what the run found, and write the pages
    python benchmarks/claims.py --check                         # fail where a page says something else

What is kept of a run, its findings, configuration, environment and hashes, stands in a folder of docs/runs that has its
name; the pages are made from these folders alone. Of a claim that several of them have on one data set, the run counts
that ended last among those that ran it. The text stands between marks; all else there stays as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from embrm.core.files import write_bytes
from embrm.study import claims
from embrm.study.claims import DefenceMatrix, Finding
from embrm.study.config import load_config
from embrm.study.results import Results

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ("quick", "ci", "laptop", "full")  # configurations that need no file of the user's
QUOTED = r"\b(C\d+) \(([^)]*)\)"  # a claim with its verdicts, in docs/map.md
TABLES, LINES = "claims", "findings"  # the marks: <!-- claims --> in the page, <!-- findings --> in README


@dataclass(frozen=True)
class Kept:
    """What is kept of a run.

    Attributes:
        record: its configuration, environment, number of fits, and the hash of the rows that the findings are of.
        findings: of all its claims.
    """

    record: Mapping[str, Any]
    findings: Sequence[Finding]

    @classmethod
    def read(cls, folder: Path) -> Kept:
        """Read what was kept, and refuse findings of other rows than the record's."""
        record = json.loads((folder / "run.json").read_bytes())
        rows = json.loads((folder / "claims.json").read_bytes())
        if {row.pop("rows") for row in rows} != {record["rows"]}:
            sys.exit(f"{folder}: claims.json is not of the rows that run.json names; keep the run anew")
        return cls(record, [Finding(**row) for row in rows])

    @property
    def told(self) -> str:
        """Which run it is: its configuration, fits, seeds, pairs, version, day and commit."""
        config, commit = self.record["config"], self.record["commit"]
        version = self.record["environment"].get("versions", {}).get("embrm", "?")
        return (
            f"Of a run of the configuration {self.record['name']}: {self.record['fits']} fits, "
            f"{len(config['seeds'])} seeds, {' and '.join(map(str, config['pairs']))} pairs, "
            f"{self.finished[:10]}, embrm {version}{f', commit {commit}' if commit else ''}"
        )

    @property
    def by_claim(self) -> Mapping[tuple[str, str], list[Finding]]:
        """(Data set, claim's id) → its rows."""
        groups: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
        for finding in self.findings:
            groups[finding.dataset, finding.id].append(finding)
        return groups

    @property
    def finished(self) -> str:
        """When the run ended, or that it has not."""
        return str(self.record["environment"].get("finished") or "unfinished")


def main() -> None:
    """Keep what runs found, and write or check the pages."""
    parser = argparse.ArgumentParser(description="Write the claims of studies into docs/claims.md and README.md.")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of a finished study, to be kept")
    parser.add_argument("--commit", default="", help="at which the runs were made")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where a page differs")
    parser.add_argument("--kept", type=Path, default=ROOT / "docs" / "runs", help="where what is kept stands")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "claims.md", help="where the tables go")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="where the lines go")
    parser.add_argument("--map", type=Path, default=ROOT / "docs" / "map.md", help="where verdicts are quoted")
    args = parser.parse_args()
    for run in args.runs:
        keep(Results.load(run), args.kept, commit=args.commit)
    differing = []
    for path, text in pages(args.kept, page=args.page, readme=args.readme, papers=args.map).items():
        if args.check and path.read_text(encoding="utf-8") != text:
            differing.append(str(path))
        elif not args.check:
            write_bytes(path, text.encode())
    if differing:
        sys.exit(f"{', '.join(differing)}: not what {args.kept} says; run `python benchmarks/claims.py`")


def keep(run: Results, kept: Path, *, commit: str) -> None:
    """Judge the claims of a run and keep them with what says which run it is."""
    config = run.config
    name = next((name for name in WHOLE if load_config(name) == config), "")
    folder = kept / (name or config_hash(run))
    folder.mkdir(parents=True, exist_ok=True)
    claims.write(claims.findings(run), folder, rows=run.digest)
    record = {
        "name": f"`{name}`" if name else f"with the hash {config_hash(run)}",
        "commit": commit,
        "rows": run.digest,
        "fits": len(list(run.select(kind="fit"))),
        "environment": run.environment,
        "config": config.model_dump(mode="json"),
    }
    write_bytes(folder / "run.json", json.dumps(record, ensure_ascii=False, indent=1).encode() + b"\n")


def config_hash(run: Results) -> str:
    """Return the first digits of the hash of a run's configuration."""
    return hashlib.sha256(run.config.model_dump_json().encode()).hexdigest()[:12]


def pages(kept: Path, *, page: Path, readme: Path, papers: Path) -> dict[Path, str]:
    """Return what the pages should say by what is kept."""
    runs = [Kept.read(folder.parent) for folder in sorted(kept.glob("*/run.json"))]
    if not runs:
        sys.exit(f"{kept} keeps no run; name the folder of a finished study")
    of_claim: dict[tuple[str, str], tuple[Kept, list[Finding]]] = {}
    for run in sorted(runs, key=lambda run: run.finished):
        for key, rows in run.by_claim.items():
            if key not in of_claim or any(row.verdict != "not run" for row in rows):
                of_claim[key] = run, rows
    of_dataset: defaultdict[str, list[Finding]] = defaultdict(list)
    used: defaultdict[str, set[str]] = defaultdict(set)
    for (dataset, claim), (run, rows) in of_claim.items():
        of_dataset[dataset] += rows
        if any(row.verdict != "not run" for row in rows):
            used[run.told].add(claim)
    sources = "\n".join(f"- {told}: {spans(ids)}." for told, ids in used.items())
    tables = [section(dataset, found) for dataset, found in of_dataset.items()]
    lines = [f"- {summary(dataset, found)}" for dataset, found in of_dataset.items()]
    return {
        page: put(page, TABLES, "\n\n".join([sources, *tables])),
        readme: put(readme, LINES, "\n".join([sources, "", *lines])),
        papers: retold(papers, of_dataset),
    }


def spans(ids: Collection[str]) -> str:
    """Return ids in their order, those in a row as a span: "C1–C3, C7"."""
    known = claims.names()
    rows = [list(rows) for there, rows in groupby(known, key=lambda name: name in ids) if there]
    return ", ".join(row[0] if len(row) == 1 else f"{row[0]}–{row[-1]}" for row in rows)


def put(page: Path, mark: str, body: str) -> str:
    """Return a page with a body between its marks."""
    text, begin, end = page.read_text(encoding="utf-8"), f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{page} has no place for it; put the lines {begin} and {end} where it should stand")
    return f"{before}{begin}\n{body}\n{end}{after}"


def retold(page: Path, of_dataset: Mapping[str, Sequence[Finding]]) -> str:
    """Return a page with the verdicts where it quotes a claim, as "C1 (fast mixed, world mixed)"."""
    verdicts: defaultdict[str, list[str]] = defaultdict(list)
    for dataset, found in of_dataset.items():
        for told in claims.summaries(found):
            if told.verdict != "not run":
                verdicts[told.first.id].append(f"{dataset} {told.verdict}")

    def quoted(match: re.Match[str]) -> str:
        return f"{match[1]} ({', '.join(verdicts[match[1]])})" if match[1] in verdicts else match[0]

    return re.sub(QUOTED, quoted, page.read_text(encoding="utf-8"))


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
