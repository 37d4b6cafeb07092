"""What rules that choose at random are worth on a pool: exact where a closed form exists, else with its error."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, xlogy

from embrm.bestofn.curves import BLOCK, Curve, rank_curve, row_curve
from embrm.bestofn.exact import curve
from embrm.bestofn.ranks import Convention, as_pools, check_convention, population_weights
from embrm.core.arrays import Array, IntArray, positive
from embrm.errors import OptionError


def poisson(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    rates: npt.ArrayLike,
    *,
    pool: Convention = "population",
    offsets: npt.ArrayLike | None = None,
) -> Curve:
    """Return the exact curve of best-of-(1 + Poisson(m)) over the rates m (2506.19248); `Curve.sizes` holds the rates.

    Under "population" what the law puts above the pool's size N is put on N. KL is that of the mixed choice, for
    responses that never repeat under "population", and exact under "support".

    Args:
        proxy: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        gold: of the same shape.
        rates: `(k,)` numbers >= 0.
        pool: the convention, see `embrm.bestofn`.
        offsets: `(prompts + 1,)`.

    Raises:
        OptionError: a rate is negative or not finite.

    Examples:
        >>> import numpy as np
        >>> proxy = np.arange(100.0)[None]
        >>> poisson(proxy, proxy, [0.0, 1.0, 8.0]).gold.round(1)
        array([49.5, 62.8, 89. ])
    """
    p, g, bounds = as_pools(proxy, gold, offsets)
    m = positive("rates", rates, zero=True)
    weights = partial(poisson_weights, pool=pool)
    kl = partial(_poisson_kl, m) if pool == "population" else None
    return rank_curve(p, g, offsets=bounds, sizes=m, weights=weights, kl=kl)


def poisson_weights(rates: Array, size: int, *, pool: Convention) -> Array:
    """Return `(k, size)` probabilities that rank i (worst first) is the best of 1 + Poisson(m)."""
    check_convention(pool)
    if pool == "population":
        law, out = _poisson_mixture(rates, size), np.zeros((len(rates), size))
        likely, step = np.flatnonzero(law.any(axis=0)), max(BLOCK // size, 1)
        for start in range(0, len(likely), step):  # a weight for each n and rank would be the square of the pool
            n = likely[start : start + step]
            out += law[:, n] @ population_weights(n + 1, size)
        return out
    edges = np.arange(size + 1) / size
    return np.diff(edges * np.exp(rates[:, None] * (edges - 1)), axis=1)


def _poisson_mixture(rates: Array, size: int) -> Array:
    """Return `(k, size)` probabilities of n = 1..size, the tail on the last."""
    n, m = np.arange(size), rates[:, None]
    law = np.exp(xlogy(n, m) - m - gammaln(n + 1))
    law[:, -1] = np.maximum(1 - law[:, :-1].sum(axis=1), 0)
    return np.asarray(law)


def _poisson_kl(rates: Array, size: int) -> Array:
    # The choice's quantile has the density f(u) = Σ_n P(n) n u^(n-1) under the mixture; the KL is ∫ f log f.
    law = _poisson_mixture(rates, size)
    likely = np.flatnonzero(law.any(axis=0))
    u, w = _nodes(int(likely[-1]) + 1)
    f, step = np.zeros((len(rates), len(u))), max(BLOCK // len(u), 1)
    for start in range(0, len(likely), step):
        n = likely[start : start + step]
        f += law[:, n] @ ((n[:, None] + 1) * u ** n[:, None])
    return np.asarray(xlogy(f, f) @ w)


def _nodes(degree: int) -> tuple[Array, Array]:
    """Return nodes and weights `(q,)` on [0, 1] for functions of polynomials up to a degree, which rise towards 1.

    Gauss and Legendre's for small degrees; for others on panels that halve towards 1, where u^n does all that it does.
    """
    if degree <= 512:
        x, w = np.polynomial.legendre.leggauss(2 * degree + 32)
        return (1 + x) / 2, w / 2
    x, w = np.polynomial.legendre.leggauss(64)
    halvings = int(np.ceil(np.log2(degree))) + 6
    ends = np.append(1 - 0.5 ** np.arange(halvings), 1.0)
    width = np.diff(ends)[:, None]
    return (ends[:-1, None] + width * (1 + x) / 2).ravel(), (width * w / 2).ravel()


def pessimistic(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    sizes: npt.ArrayLike,
    *,
    beta: float,
    cap: float | None = None,
    offsets: npt.ArrayLike | None = None,
) -> Curve:
    """Return the exact curve of inference-time pessimism over n (2503.21878), the pool taken as the policy itself.

    Of n draws the first is taken that its acceptance probability lets through; if none, a random response is.

    Args:
        proxy: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        gold: of the same shape.
        sizes: `(k,)` numbers of draws n >= 1.
        beta: strength of the regularisation towards the reference policy; larger is more cautious.
        cap: see `acceptance`.
        offsets: `(prompts + 1,)`.

    Raises:
        OptionError: a size, `beta` or `cap` is not positive.

    Examples:
        >>> import numpy as np
        >>> proxy = np.arange(100.0)[None]
        >>> [pessimistic(proxy, proxy, [64], beta=beta).gold.round(1).item() for beta in (0.1, 10.0, 1e6)]
        [88.4, 84.6, 49.5]
    """
    p, g, bounds = as_pools(proxy, gold, offsets)
    accept = acceptance(p, bounds, beta=beta, cap=cap)
    n = positive("sizes", sizes)
    return row_curve(p, g, offsets=bounds, sizes=n, probability=lambda n: first_accepted(accept, bounds, draws=n))


def acceptance(value: Array, offsets: IntArray, *, beta: float, cap: float | None) -> Array:
    """Return the probability `(m,)` with which pessimism accepts each row: `relu((r - λ)/β)/M`, at most 1.

    λ makes the mean of `relu((r - λ)/β)` over the pool 1, and is the largest of `(Σ_{top k} r - Nβ)/k` over k: each of
    those is a lower bound of it, and one is exact.

    Args:
        value: `(m,)` rewards.
        offsets: `(pools + 1,)`.
        beta: > 0.
        cap: M, the largest weight that is not cut; None takes each pool's largest, so that nothing is cut.
    """
    positive("beta", beta)
    counts, starts = np.diff(offsets), offsets[:-1]
    pool = np.repeat(np.arange(len(counts)), counts)
    k = np.arange(len(value)) - starts[pool] + 1
    # All are distances to the pool's best, so that an offset of the rewards costs no digits; λ is never more than Nβ
    # below it, and what is farther away is not accepted, however far it is.
    gap = np.maximum(value - np.maximum.reduceat(value, starts)[pool], -beta * counts[pool])
    s = gap[np.lexsort((-gap, pool))]
    total = np.cumsum(s)
    total -= (total[starts] - s[starts])[pool]
    level = np.maximum.reduceat((total - counts[pool] * beta) / k, starts)
    weight = np.maximum(gap - level[pool], 0) / beta
    largest = np.maximum.reduceat(weight, starts)[pool] if cap is None else positive("cap", cap)
    return np.asarray(np.minimum(weight / largest, 1))


def first_accepted(accept: Array, offsets: IntArray, *, draws: npt.ArrayLike) -> Array:
    """Return the probability `(m,)` of each row when uniform draws from its pool go on until one is accepted.

    After `draws` (a number, or one for each pool) without an acceptance a random row is taken.
    """
    counts = np.diff(offsets)
    mean = np.add.reduceat(accept, offsets[:-1]) / counts
    miss = (1 - np.minimum(mean, 1)) ** draws
    return np.asarray(np.repeat((1 - miss) / (mean * counts), counts) * accept + np.repeat(miss / counts, counts))


def soft(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    sizes: npt.ArrayLike | None = None,
    *,
    temperature: float,
    seed: int,
    draws: int = 64,
    offsets: npt.ArrayLike | None = None,
) -> Curve:
    """Return the curve of soft best-of-n: n responses without replacement, one of them by softmax(r/τ).

    Softmax is the argmax of rewards with Gumbel noise, so each draw of the noise gives an exact best-of-n curve, and
    only the noise is left to Monte Carlo (Rao–Blackwell): `Curve.standard_error` is its error, over `draws`. For the
    same reason KL is at most that of best-of-n, `log n - (n - 1)/n`, which is what `Curve.kl` holds.

    Args:
        proxy: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        gold: of the same shape.
        sizes: the n wanted; None means those of `sizes_up_to` the smallest pool.
        temperature: τ > 0; 0 would be best-of-n, infinity a random response.
        seed: of the noise.
        draws: of the noise, at least 2.
        offsets: `(prompts + 1,)`.

    Raises:
        OptionError: the temperature is not positive, there are fewer than 2 draws, or n exceeds a pool.

    Examples:
        >>> import numpy as np
        >>> proxy = np.arange(100.0).repeat(50).reshape(100, 50).T
        >>> curve = soft(proxy, proxy, [1, 16], temperature=10.0, seed=0)
        >>> curve.gold.round(0), bool(curve.standard_error.max() < 0.5)
        (array([50., 88.]), True)
    """
    p, g, bounds = as_pools(proxy, gold, offsets)
    positive("temperature", temperature)
    if draws < 2:
        raise OptionError(f"draws must be at least 2, for a standard error, got {draws}")
    rng = np.random.default_rng(seed)
    proxies = golds = np.zeros(())
    means = []
    for _ in range(draws):
        noisy = p + temperature * rng.gumbel(size=len(p))
        one = curve(noisy, g, sizes, offsets=bounds)
        # The curve's own proxy holds the noise, so the reward takes gold's place.
        proxies = proxies + curve(noisy, p, sizes, offsets=bounds).gold_per_prompt / draws
        golds = golds + one.gold_per_prompt / draws
        means.append(one.gold)
    error = np.std(means, axis=0, ddof=1) / np.sqrt(draws)
    return replace(one, proxy_per_prompt=proxies, gold_per_prompt=golds, standard_error=error)
