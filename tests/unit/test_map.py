"""The map of papers: it names what exists, quotes the verdicts that there are, and leaves out no paper of the code."""

from __future__ import annotations

import re
from pathlib import Path

from embrm import detectors, heads, selectors

ROOT = Path(__file__).resolve().parents[2]
MAP = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
PAPER = r"\b\d{4}\.\d{5}\b"


def test_every_paper_of_the_code_is_on_the_map() -> None:
    named = {n for file in (ROOT / "embrm").rglob("*.py") for n in re.findall(PAPER, file.read_text(encoding="utf-8"))}
    assert named - set(re.findall(PAPER, MAP)) == set()


def test_what_it_names_exists() -> None:
    for path in re.findall(r"`(embrm/[\w/]+\.py)`", MAP):
        assert (ROOT / path).is_file(), path
    for kind, known in (("head", heads.names()), ("rule", selectors.names()), ("detector", detectors.names())):
        for names in re.findall(rf"\b{kind}s? ((?:`\w+`(?:, | and )?)+)", MAP):
            assert set(re.findall(r"`(\w+)`", names)) <= set(known), names


def test_the_verdicts_that_it_quotes_are_those_of_the_claims() -> None:
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    verdicts: dict[str, list[str]] = {}
    for part in re.split(r"(?=\*\*\w+\*\*: of \d+ rows)", page)[1:]:
        dataset = part[2 : part.index("**:")]
        summary = part.partition("<details>")[0]
        for claim, verdict in re.findall(r"^\| (C\d+) \| [^|]+ \| ([a-z ]+) \|", summary, re.MULTILINE):
            if verdict != "not run":
                verdicts.setdefault(claim, []).append(f"{dataset} {verdict}")
    quoted = re.findall(r"\b(C\d+) \(([^)]*)\)", MAP)
    assert len(quoted) >= 15
    for claim, told in quoted:
        assert told == ", ".join(verdicts[claim]), f"run benchmarks/claims.py, which writes the verdicts of {claim}"
