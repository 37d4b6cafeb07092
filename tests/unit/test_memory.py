"""Pools as large as they come: memory grows with them, and not with their square."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from embrm import bestofn
from embrm.bestofn.stochastic import _nodes
from embrm.core.arrays import Array

MEASURED = """
import resource
import numpy as np
from embrm import bestofn, selectors
from embrm.core.data import Candidates, Features
from embrm.core.results import Reward
from embrm.evaluation.reports import pool_report
n = {rows}
rng = np.random.default_rng(0)
value, gold = rng.normal(size=(2, 2 * n))
offsets = np.array([0, n, 2 * n])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{work}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
EVALUATE = """
candidates = Candidates(Features({"joint": value[:, None]}, prompt=np.repeat([0, 1], n)), offsets, gold=gold)
found = pool_report(Reward(value[None], "point"), candidates, seed=0)
assert found.sizes[-1] == n
assert np.isfinite(found.gain["gold"].estimate).all()
"""
ALL_SIZES = "bestofn.curve(value, gold, np.arange(1, n + 1), offsets=offsets)"
POISSON = """
choice = selectors.get("poisson")(rate=8.0)(Reward(value[None], "point"), offsets=offsets, seed=0)
np.testing.assert_allclose(np.add.reduceat(choice.probability, offsets[:-1]), 1, rtol=1e-9)
assert np.isfinite(bestofn.poisson(value, gold, [8.0], offsets=offsets).kl).all()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no module resource")
@pytest.mark.parametrize(
    ("work", "rows", "most"),
    [(ALL_SIZES, 20_000, 300), (EVALUATE, 100_000, 300), (POISSON, 200_000, 300)],
    ids=["all sizes", "evaluate", "poisson"],
)
def test_memory_is_no_square_of_the_pool(work: str, rows: int, most: float) -> None:
    code = MEASURED.format(rows=rows, work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < most  # MiB


def test_a_large_pool_has_a_curve_of_at_most_1000_sizes() -> None:
    """Of ranks 1 to N without replacement the best of n is n(N + 1)/(n + 1)."""
    N = 50_000
    ranks = np.arange(1.0, N + 1)
    began = time.process_time()
    curve = bestofn.curve(ranks, ranks)
    assert time.process_time() - began < 5  # of every n it takes above a minute
    n = curve.sizes
    assert (int(n[0]), int(n[-1])) == (1, N)
    assert len(n) <= 1000
    assert (np.diff(n) > 0).all()
    np.testing.assert_allclose(curve.gold, n * (N + 1) / (n + 1), rtol=1e-9)
    np.testing.assert_array_equal(bestofn.sizes_up_to(1000), np.arange(1, 1001))


def test_blocks_of_sizes_change_no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rng.integers(0, 9, size=(3, 40)).astype(float), rng.normal(size=(3, 40))

    def curves() -> list[Array]:
        pools = ("population", "support")
        made = [bestofn.curve(proxy, gold, pool=pool) for pool in pools]  # type: ignore[arg-type]
        made += [bestofn.poisson(proxy, gold, [0.0, 3.0, 30.0], pool=pool) for pool in pools]  # type: ignore[arg-type]
        return [part for c in made for part in (c.gold_per_prompt, c.proxy_per_prompt, c.kl)]

    whole = curves()
    for module in ("curves", "stochastic"):
        monkeypatch.setattr(f"embrm.bestofn.{module}.BLOCK", 100)
    for one, other in zip(whole, curves(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("degree", [600, 5000, 200_000])
def test_panels_integrate_what_rises_towards_one(degree: int) -> None:
    """∫ f log f of f = n u^(n−1) is log n − (n − 1)/n."""
    u, w = _nodes(degree)
    f = np.exp(np.log(degree) + (degree - 1) * np.log(u))
    np.testing.assert_allclose(w.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(
        (f * np.log(np.maximum(f, 1e-300))) @ w, np.log(degree) - (degree - 1) / degree, rtol=1e-9
    )
