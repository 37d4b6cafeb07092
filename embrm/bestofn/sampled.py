"""What any rule that is known by its probabilities is worth among n responses, by Monte Carlo over the n."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from embrm.bestofn.curves import Curve
from embrm.bestofn.exact import curve
from embrm.bestofn.ranks import Convention, as_pools
from embrm.core.arrays import Array, IntArray
from embrm.errors import OptionError


def sampled(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    sizes: npt.ArrayLike,
    *,
    probability: Callable[[Array, IntArray], Array],
    pool: Convention = "population",
    seed: int,
    draws: int = 64,
    offsets: npt.ArrayLike | None = None,
) -> Curve:
    """Return the curve of a rule that is given n responses of each pool and picks each with a known probability.

    A mean over all sets of n has no closed form for a rule of which nothing else is known. So `draws` random orders of
    each pool are looked at, of which every n takes the first n; the rule's own choice among those is not sampled but
    weighed (Rao–Blackwell), and compared with a random one of the same n, whose worth is known (a control variate).
    `Curve.standard_error` is what is left; it is 0 at n = 1, which is a random response, and under "population" at the
    size of the pools, which leaves nothing to draw.

    `Curve.kl` holds a bound: whatever picks one of n draws, its KL is at most that of best-of-n without ties, because
    no set of responses can be hit more often than when one of them is always picked if it is among the n.

    Args:
        proxy: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        gold: of the same shape.
        sizes: `(k,)` whole n.
        probability: `(values (p,), offsets) -> (p,)`: the rule, summing to 1 in every pool.
        pool: whether the n are drawn without replacement ("population") or with it ("support").
        seed: of the orders.
        draws: how many orders, at least 2.
        offsets: `(prompts + 1,)`.

    Raises:
        OptionError: an n is not whole, below 1 or above a pool under "population", or there are fewer than 2 draws.

    Examples:
        A rule that takes either of the two best of n, and all of two when there are no more:

        >>> import numpy as np
        >>> def either(values, offsets):
        ...     ranks = [np.argsort(np.argsort(-part)) for part in np.split(values, offsets[1:-1])]
        ...     return np.concatenate([(rank < 2) / min(2, len(rank)) for rank in ranks])
        >>> proxy = np.arange(8.0)[None]
        >>> curve = sampled(proxy, proxy, [1, 2, 8], probability=either, seed=0)
        >>> curve.gold, curve.standard_error.round(12)
        (array([3.5, 3.5, 6.5]), array([0., 0., 0.]))
    """
    p, g, bounds = as_pools(proxy, gold, offsets)
    n = np.atleast_1d(np.asarray(sizes))
    if draws < 2:
        raise OptionError(f"draws must be at least 2, for a standard error, got {draws}")
    # Of responses that never tie: their KL is the bound, and n is checked there.
    best = curve(np.arange(len(p)), g, n, pool=pool, offsets=bounds)
    if (n != np.round(n)).any():
        raise OptionError(f"a rule that is sampled chooses among whole numbers of responses, got sizes {n}")
    rng, of = np.random.default_rng(seed), np.stack([p, g])
    prompts, whole = len(bounds) - 1, n.astype(np.int64)
    mean = np.add.reduceat(of, bounds[:-1], axis=1) / np.diff(bounds)
    found = np.empty((draws, 2, prompts, len(n)))
    for draw in range(draws):
        rows = _ordered(rng, bounds, int(whole.max()), pool)
        for j, size in enumerate(whole.tolist()):
            some = rows[:, :size].ravel()
            ahead = probability(p[some], np.arange(prompts + 1) * size) - 1 / size
            found[draw, :, :, j] = mean + (of[:, some] * ahead).reshape(2, prompts, size).sum(axis=2)
    error = found[:, 1].mean(axis=1).std(axis=0, ddof=1) / np.sqrt(draws)
    values = found.mean(axis=0)
    return replace(best, proxy_per_prompt=values[0], gold_per_prompt=values[1], standard_error=error)


def _ordered(rng: np.random.Generator, offsets: IntArray, size: int, pool: Convention) -> IntArray:
    """Return the first `size` rows of a random order of each pool, `(prompts, size)`."""
    counts, starts = np.diff(offsets)[:, None], offsets[:-1, None]
    if pool == "support":
        return np.asarray(starts + rng.integers(counts, size=(len(counts), size)))
    of = np.repeat(np.arange(len(counts)), counts[:, 0])
    order = np.lexsort((rng.random(len(of)), of))
    return np.asarray(order[starts + np.arange(size)])
