"""How many files are damaged, and what came of them: a fixed budget by default, `just fuzz` for a long campaign."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

FEW = 3  # of each test, in the default suite
LONG = int(os.environ.get("EMBRM_FUZZ_EXAMPLES", "0"))
settings.register_profile(
    "files",
    max_examples=LONG or FEW,
    deadline=None,
    derandomize="EMBRM_FUZZ_RANDOM" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
counts: Counter[tuple[str, str]] = Counter()


@pytest.fixture(autouse=True, scope="session")
def counted() -> Iterator[None]:
    """Print how often each category ended how, after a long campaign."""
    yield
    if LONG:
        with open(os.environ.get("EMBRM_FUZZ_REPORT", os.devnull), "a", encoding="utf-8") as out:  # noqa: PTH123
            for (category, outcome), count in sorted(counts.items()):
                print(f"{category}: {count} {outcome}")
                print(f"{category}\t{outcome}\t{count}", file=out)
