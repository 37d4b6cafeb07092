"""Studies of real pools and preferences: no cell fails, and what they can say is said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from embrm.study import claims
from embrm.study.claims import Finding
from embrm.study.config import parse
from embrm.study.runner.run import run

PACKS = Path(__file__).parents[3] / "shared" / "packs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PACKS.exists(), reason="needs ../shared/packs, which is not part of the project"),
]
ON_GOLD = {"C1", "C2", "C3", "C4"}  # claims that a pool with gold can answer by these heads
PAIRS_ALONE = {"C16"}  # and one that pairs can: whether noise hurts one loss less

POOLS: Mapping[str, tuple[dict[str, Any], int]] = {
    "alpacaeval": ({"omit": ["NullModel"]}, 1000),
    "humaneval": ({}, 400),  # gold is 0 or 1, and equal in all samples of 29 of the 82 prompts
    "pandalm": ({}, 100),
}


def study(tmp_path: Path, dataset: dict[str, Any], *, pairs: int) -> Mapping[str, list[Finding]]:
    """Run a small study of one data set, in which no cell may fail, and return its findings by claim."""
    quick = {"epochs": 3}
    config = parse(
        {
            "seeds": [0, 1],
            "datasets": [{"name": "real", **dataset}],
            "mechanisms": {"biased": {"bias": 1.0}},
            "flips": [0.0, 0.25],
            "pairs": [pairs],
            "heads": [
                {"name": "linear"},
                {"name": "mlp", "options": quick},
                {"name": "mlp", "title": "mlp classification", "options": quick | {"loss": "classify"}},
                {"name": "inform", "options": quick},
            ],
            "rules": [{"name": "mean"}],
            "sizes": [1, 2, 4, 8, 16, 32],
            "kl_end": 2.0,
            "kl_points": 9,
            "tuning": {"budget": 1, "pairs": pairs},
        }
    )
    results = run(config, tmp_path / "run", workers=1)
    assert not results.failures
    found: dict[str, list[Finding]] = {}
    for finding in claims.findings(results, draws=200):
        found.setdefault(finding.id, []).append(finding)
    return found


def ran(found: Mapping[str, list[Finding]]) -> set[str]:
    return {name for name, rows in found.items() if any(row.verdict != "not run" for row in rows)}


@pytest.mark.filterwarnings("ignore:.*responses hold nothing that is embedded")  # humaneval has 49 empty ones
@pytest.mark.parametrize("name", POOLS)
def test_a_real_pool_goes_through_the_claims(name: str, tmp_path: Path) -> None:
    more, pairs = POOLS[name]
    found = study(tmp_path, {"kind": "pool", "pool": str(PACKS / name), **more}, pairs=pairs)
    assert ran(found) >= ON_GOLD
    assert {row.reason for row in found["C24"]} == {"Not run: real has no experiment titled 'steps'."}


def test_human_preferences_alone_say_what_else_is_needed(tmp_path: Path) -> None:
    pairs = str(PACKS / "pandalm" / "pairs.jsonl.gz")
    found = study(tmp_path, {"kind": "files", "pairs": pairs, "embedder": "hashing"}, pairs=300)
    assert ran(found) >= PAIRS_ALONE
    assert "C1" not in ran(found)
    assert all("real" in row.reason for rows in found.values() for row in rows if row.verdict == "not run")


def test_human_preferences_with_their_pool_go_through_the_claims(tmp_path: Path) -> None:
    files = {"pairs": str(PACKS / "pandalm" / "pairs.jsonl.gz"), "pool": str(PACKS / "pandalm" / "candidates.jsonl.gz")}
    found = study(tmp_path, {"kind": "files", "embedder": "hashing", **files}, pairs=300)
    assert ran(found) >= ON_GOLD | PAIRS_ALONE
