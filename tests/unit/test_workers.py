"""Fits in several processes: the same numbers, bit for bit, with any number of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embrm import Pairs, Problem, tune
from embrm.core.processes import use_workers
from embrm.evaluation.compare import compare_heads
from embrm.heads import Head, fit_many
from embrm.heads.gradient import loop

CASES: dict[str, dict[str, Any]] = {
    "linear": {},
    "laplace": {"prior_precision": 10.0},
    "inform": {"members": 2, "epochs": 2, "hidden": 16, "latent_dim": 4},
    "ensemble": {"base": Head.of("linear"), "diversity": "bootstrap", "members": 2},
}


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    x = np.random.default_rng(0).normal(size=(400, 24)).astype(np.float32)
    first = np.arange(0, 400, 2)
    better = np.where(x[first, 0] > x[first + 1, 0], first, first + 1)
    return Pairs.from_arrays(x, chosen=better, rejected=2 * first + 1 - better)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_fits_are_the_same_in_any_number_of_processes(name: str, pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    head = Head.of({"name": name, "options": CASES[name]})
    monkeypatch.setattr(loop, "BLOCK_BYTES", 1 << 20)  # a block holds a problem or two
    problems = [Problem(pairs, seed) for seed in range(4)]
    alone, two, three = (fit_many(head, problems, workers=workers) for workers in (1, 2, 3))
    for model, second, third in zip(alone, two, three, strict=True):
        for other in (second, third):
            assert other.record == model.record
            assert other.arrays().keys() == model.arrays().keys()
            np.testing.assert_array_equal(other.score(pairs.features).draws, model.score(pairs.features).draws)


@pytest.mark.slow
def test_tuning_and_comparing_are_the_same_in_two_processes(pairs: Pairs) -> None:
    head = Head.of({"name": "mlp", "options": {"hidden": (8,), "epochs": 2}})
    one, two = (tune(head, pairs, budget=3, seed=0, workers=workers) for workers in (1, 2))
    assert one.best == two.best
    assert [(t.recipe, t.nll, t.accuracy) for t in one.trials] == [(t.recipe, t.nll, t.accuracy) for t in two.trials]
    heads = {"linear": Head.of("linear"), "mlp": head}
    found = [compare_heads(heads, pairs, folds=2, budget=1, seed=0, workers=workers) for workers in (1, 2)]
    for title, line in found[0].lines.items():
        np.testing.assert_array_equal(line.hit, found[1].lines[title].hit)
        assert line.nll.estimate == found[1].lines[title].nll.estimate


def test_blocks_hold_whole_problems_so_that_they_can_be_computed_apart(pairs: Pairs) -> None:
    head = Head.of({"name": "mlp", "options": {"members": 2, "epochs": 1, "hidden": (8,)}})
    problems = [Problem(pairs, seed) for seed in range(3)]
    together = head.fit_many(problems)
    with use_workers(None):  # the first block is computed here, and there is little else
        apart = head.fit_many(problems)
    for model, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(model.score(pairs.features).draws, other.score(pairs.features).draws)
