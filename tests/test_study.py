"""The study on the shipped world: its controls, its paths, and that it is a world in which rewards are hacked."""

from __future__ import annotations

import numpy as np
import pytest

from embrm import Problem, heads
from embrm.intervals import bootstrap
from embrm.overoptimisation import peak
from embrm.study.config import parse
from embrm.study.results import Results
from embrm.study.run import run
from embrm.types import Array
from embrm.world import shipped
from tests.small_study import on_world


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(parse(on_world(pairs=[200], seeds=[0])), tmp_path_factory.mktemp("study") / "run", workers=1)


def test_controls_are_what_they_must_be(finished: Results) -> None:
    best = {row.cell.head: row.arrays["bon.mean"].mean(axis=0) for row in finished.select(kind="control")}
    assert (np.diff(best["oracle"]) > 0).all()
    np.testing.assert_allclose(best["random"], best["oracle"][0])  # the best of one is a random one
    for row in finished.select(kind="fit"):
        mean = row.arrays["bon.mean"].mean(axis=0)
        np.testing.assert_allclose(mean[0], best["random"][0])
        assert (mean <= best["oracle"] + 1e-9).all()


def test_the_proxy_rises_along_its_own_path(finished: Results) -> None:
    fits = list(finished.select(kind="fit"))
    assert len(fits) == 2
    for row in fits:
        proxy = row.arrays["proxy.mean"]
        reached = proxy[~np.isnan(proxy)]  # as far as the pool is reliable
        assert len(reached) > 1
        assert (np.diff(reached) > 0).all()


def lost(*, bias: float, flips: float, seeds: int) -> tuple[Array, Array]:
    """Return gain at the peak and drop to the end of the standard head's path, `(seeds,)` each."""
    data = shipped.load("minilm")
    problems = [Problem(data.preferences(bias=bias, flips=flips, seed=s), s) for s in range(seeds)]
    proposals, gains, drops = data.proposals(), [], []
    for model in heads.get("mlp")().fit_many(problems):
        path = data.proposal_pool(model.score(proposals.features).mean).path()
        found = [peak(path.gold[: path.end + 1].T, seed=s, draws=2) for s in range(10)]
        gains.append(np.mean([f.gain.estimate for f in found]))
        drops.append(np.mean([f.drop.estimate for f in found]))
    return np.array(gains), np.array(drops)


@pytest.mark.slow
def test_the_standard_head_is_hacked_with_biased_annotators() -> None:
    gain, drop = lost(bias=1.0, flips=0.25, seeds=6)
    share = bootstrap(np.stack([gain, drop], axis=1), seed=0, statistic=lambda m: m[..., 1] / m[..., 0])
    assert gain.min() > 0
    assert float(share.low) >= 0.25


@pytest.mark.slow
def test_and_not_hacked_with_fair_ones() -> None:
    gain, drop = lost(bias=0.0, flips=0.0, seeds=5)
    assert (drop <= 0.05 * gain).all()
