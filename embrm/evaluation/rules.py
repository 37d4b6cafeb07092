"""Rules side by side on the same pools: what each is worth in gold as it picks harder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import Curve
from embrm.bestofn.scaling_law import peak
from embrm.core.arrays import Array, IntArray, as_vector, check_offsets
from embrm.core.results import Reward
from embrm.errors import DataError
from embrm.metrics.intervals import Interval, bootstrap, units_of
from embrm.selectors import Selector, registry


@dataclass(frozen=True, eq=False)
class GoldPools:
    """Pools of responses with a gold reward, on which rules are compared; no vector is needed.

    Attributes:
        gold: `(m,)`.
        offsets: `(prompts + 1,)`.
        length: `(m,)` characters, or None.
        cluster: `(prompts,)` which prompts belong together, or None where each is its own.
    """

    gold: Array
    offsets: IntArray
    length: Array | None = None
    cluster: IntArray | None = None

    @classmethod
    def of(
        cls, gold: npt.ArrayLike | None, offsets: npt.ArrayLike, *, length: npt.ArrayLike | None = None
    ) -> GoldPools:
        """Return the pools, checked.

        Raises:
            DataError: there is no gold, or a single prompt, or lengths do not fit.
        """
        if gold is None:
            raise DataError(
                "the pools have no gold rewards, so rules cannot be compared; add a 'gold' list to each row"
            )
        g = np.asarray(gold)
        bounds = check_offsets(offsets, g.size)
        if len(bounds) < 3:
            raise DataError("the intervals of a curve come from resampling prompts, got a single prompt; add others")
        long = None if length is None else as_vector(length, "length", g.size, np.float64)
        return cls(as_vector(g, "gold", g.size, np.float64), bounds, long)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> IntArray:
        """Powers of two and the smallest pool, `(k,)`."""
        smallest = int(np.diff(self.offsets).min())
        return np.unique([*2 ** np.arange(smallest.bit_length()), smallest])


@dataclass(frozen=True, eq=False)
class RuleLine:
    """One rule on the pools.

    Attributes:
        kl: `(k,)` nats from the reference policy.
        gold: `(k,)` expected gold of the choice.
        gain: `(k,)` the same above a random response, in standard deviations of the pool.
        ahead: `(k,)` gold minus that of the first rule, paired by prompt.
        peak: the n of the highest gold.
        drop: gold there minus gold at the largest n, cross-fitted over prompts (see `embrm.bestofn.scaling_law.peak`);
            None for fewer than four prompts.
        standard_error: `(k,)` Monte Carlo error of gold, or None where it is exact.
    """

    kl: Array
    gold: Interval
    gain: Interval
    ahead: Interval
    peak: int
    drop: Interval | None
    standard_error: Array | None


@dataclass(frozen=True, eq=False)
class RuleComparison:
    """Rules compared on one set of pools.

    Attributes:
        sizes: `(k,)` n.
        lines: rule → what it is worth; then "oracle", "length" (the longest response) and "random".
        rules: how many of the lines are rules.
        prompts: how many there were.
        pool: the convention, see `embrm.bestofn`.
        curves: line → the curve that it sums up, prompt by prompt.
        cluster: `(prompts,)` which of them belong together; None: each stands alone.
    """

    sizes: IntArray
    lines: Mapping[str, RuleLine]
    rules: int
    prompts: int
    pool: bestofn.Convention
    curves: Mapping[str, Curve]
    cluster: IntArray | None

    def as_dict(self) -> dict[str, Any]:
        """Return all but what is of single prompts."""
        return {field.name: getattr(self, field.name) for field in fields(self)[:-2]}


def usual_rules(reward: Reward) -> dict[str, Selector]:
    """Return the mean, and what makes no sense for a single member: the worst case, or of a posterior a quantile."""
    rules: dict[str, Selector] = {"mean": registry.get("mean")()}
    if reward.kind == "members":
        rules["worst_case"] = registry.get("worst_case")()
    elif reward.kind == "posterior":
        rules["worst_case:quantile=0.05"] = registry.get("worst_case")(quantile=0.05)
    return rules


def compare(
    rules: Mapping[str, Selector],
    reward: Reward,
    pools: GoldPools,
    *,
    sizes: npt.ArrayLike | None = None,
    pool: bestofn.Convention = "population",
    penalty: npt.ArrayLike | None = None,
    seed: int,
) -> RuleComparison:
    """Return the curves of several rules on the same pools, with the oracle, the longest response and a random one.

    Args:
        rules: name → rule; differences are taken from the first.
        reward: of the pools' `m` responses.
        pools: with their gold.
        sizes: n; None means powers of two and the smallest pool.
        pool: see `embrm.bestofn`.
        penalty: `(m,)` for rules that take one.
        seed: of intervals and noise.

    Raises:
        DataError: see `embrm.selectors.Selector.curve`.
        OptionError: likewise.
    """
    g, bounds = pools.gold, pools.offsets
    n = pools.sizes if sizes is None else np.unique(np.asarray(sizes))
    curves = {
        name: rule.curve(reward, g, n, offsets=bounds, pool=pool, penalty=penalty, seed=seed)
        for name, rule in rules.items()
    }
    by = {"oracle": g, "length": pools.length, "random": np.zeros(len(g))}
    for name, value in by.items():
        if value is not None:
            curves[name] = bestofn.curve(value, g, n, pool=pool, offsets=bounds)
    curves["random"] = replace(curves["random"], kl=np.zeros(len(n)))
    first = next(iter(curves.values())).gold_per_prompt
    lines = {name: _line(c, first, n, seed=seed, cluster=pools.cluster) for name, c in curves.items()}
    return RuleComparison(n, lines, len(rules), len(pools), pool, curves, pools.cluster)


def _line(curve: Curve, first: Array, sizes: IntArray, *, seed: int, cluster: IntArray | None) -> RuleLine:
    gold = curve.gold_per_prompt
    return RuleLine(
        kl=curve.kl,
        gold=bootstrap(gold, seed=seed, cluster=cluster),
        gain=bootstrap(curve.gain_per_prompt, seed=seed, cluster=cluster),
        ahead=bootstrap(gold - first, seed=seed, cluster=cluster),
        peak=int(sizes[curve.gold.argmax()]),
        drop=peak(gold, seed=seed, cluster=cluster).drop if units_of(gold, cluster).drawn >= 4 else None,
        standard_error=curve.standard_error,
    )
