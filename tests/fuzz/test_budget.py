"""The larger fixed budget of CI: the same tests with more cases, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_budget_of_ci() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "tests/fuzz", "--deselect", "tests/fuzz/test_budget.py"],
        cwd=ROOT,
        env=os.environ | {"EMBRM_FUZZ_EXAMPLES": "25"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "rows: " in done.stdout  # the counts
