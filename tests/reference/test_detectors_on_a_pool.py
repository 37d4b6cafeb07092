"""The level and the power of the detectors on real outputs: AlpacaEval's, where they lie beside the checkout."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import detectors
from embrm.core.arrays import Array

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "packs" / "alpacaeval"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no AlpacaEval pool in {FOLDER}, which is not part of the project"),
]


def outputs(view: str) -> tuple[Array, int]:
    """Return vectors `(100, 58, 384)` of 100 prompts, and which system is NullModel."""
    with gzip.open(FOLDER / "candidates.jsonl.gz", "rt", encoding="utf-8") as lines:
        null = json.loads(next(lines))["policy"].index("NullModel")
    x = np.load(FOLDER / f"minilm{view}.f16.npy")
    return x[np.random.default_rng(0).permutation(len(x))[:100]].astype(np.float32), null


def test_clean_rows_of_other_prompts_are_flagged_at_alpha_and_moved_rows_always() -> None:
    x, null = outputs("")
    rng = np.random.default_rng(0)
    x = np.delete(x, null, axis=1) @ rng.normal(size=(x.shape[-1], 32)).astype(np.float32)
    rows = np.repeat(np.arange(50), x.shape[1])
    clean: list[Any] = []
    moved: list[Any] = []
    for seed in range(200):
        a, b = np.split(x[rng.permutation(100)], 2)
        reference, held = a.reshape(-1, 32), b.reshape(-1, 32)
        fitted = detectors.get("mahalanobis")().fit(reference, prompt=rows, seed=seed)
        clean.append(fitted.check(held).flagged_fraction)
        direction = rng.normal(size=32)
        direction /= np.linalg.norm(direction)
        moved.append(fitted.check(held + 8 * (reference @ direction).std() * direction).flagged_fraction)
    assert 0.035 < np.mean(clean) < 0.065
    assert np.mean(moved) >= 0.95


def test_dispersion_ranks_the_constant_answer_first() -> None:
    x, null = outputs(".responses")
    statistic = []
    for policy in range(x.shape[1]):
        others = np.delete(x, policy, axis=1)
        fitted = detectors.get("dispersion")().fit(others[:50].reshape(-1, 384), prompt=np.repeat(np.arange(50), 57))
        statistic.append(fitted.check(x[50:, policy], prompt=np.arange(50, 100)).statistic)
    assert int(np.argmax(statistic)) == null
