"""Rules side by side on the same pools: what each is worth in gold as it picks harder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import stochastic as expectations
from embrm.bestofn.curves import Curve
from embrm.bestofn.scaling_law import peak
from embrm.core.arrays import Array, IntArray
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError
from embrm.metrics.intervals import Interval, bootstrap
from embrm.selectors import RandomRule, Selector, registry
from embrm.selectors.pessimistic import Pessimistic
from embrm.selectors.poisson import Poisson
from embrm.selectors.soft import Soft
from embrm.selectors.thompson import Thompson


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
    """

    sizes: IntArray
    lines: Mapping[str, RuleLine]
    rules: int
    prompts: int
    pool: bestofn.Convention


def rule_curve(
    rule: Selector,
    reward: Reward,
    gold: npt.ArrayLike,
    sizes: npt.ArrayLike,
    *,
    offsets: npt.ArrayLike,
    pool: bestofn.Convention = "population",
    penalty: npt.ArrayLike | None = None,
    seed: int,
) -> Curve:
    """Return what a rule's choice among n responses is worth, for every n.

    Poisson takes n responses on average. Thompson is the mean of its draws' curves, whose mean KL bounds its own.

    Args:
        rule: any selector.
        reward: of `m` responses.
        gold: `(m,)`.
        sizes: `(k,)` n.
        offsets: `(prompts + 1,)`.
        pool: see `embrm.bestofn`.
        penalty: `(m,)` for the rule that takes one.
        seed: of soft best-of-n's noise; everything else is exact.

    Raises:
        OptionError: the rule has no curve under this convention, or n exceeds a pool under "population".
        DataError: the reward has not what the rule needs, such as several members.
    """
    n, bounds = np.atleast_1d(np.asarray(sizes)), np.asarray(offsets)
    choice = rule(reward, offsets=bounds, penalty=penalty, seed=seed)
    if isinstance(rule, Thompson):
        parts = [bestofn.curve(r, gold, n, pool=pool, offsets=bounds) for r in reward.centred().draws]
        means = {
            x: np.mean([getattr(c, x) for c in parts], axis=0) for x in ("kl", "proxy_per_prompt", "gold_per_prompt")
        }
        return replace(parts[0], **means)
    if isinstance(rule, Poisson):
        curve = expectations.poisson(choice.value, gold, n - 1, pool=pool, offsets=bounds)
        return replace(curve, sizes=n)
    convention = {Pessimistic: "support", Soft: "population"}.get(type(rule), pool)
    if convention != pool or (isinstance(rule, RandomRule) and not isinstance(rule, Pessimistic | Soft)):
        raise OptionError(
            f"the rule '{registry.name_of(rule)}' has no curve under pool='{pool}'"
            + (f"; take pool='{convention}'" if convention != pool else "; leave it out")
        )
    if isinstance(rule, Pessimistic):
        return expectations.pessimistic(choice.value, gold, n, beta=rule.beta, cap=rule.cap, offsets=bounds)
    if isinstance(rule, Soft):
        return expectations.soft(choice.value, gold, n, temperature=rule.temperature, seed=seed, offsets=bounds)
    return bestofn.curve(choice.value, gold, n, pool=pool, offsets=bounds)


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
    gold: npt.ArrayLike | None,
    *,
    offsets: npt.ArrayLike,
    length: npt.ArrayLike | None = None,
    sizes: npt.ArrayLike | None = None,
    pool: bestofn.Convention = "population",
    penalty: npt.ArrayLike | None = None,
    seed: int,
) -> RuleComparison:
    """Return the curves of several rules on the same pools, with the oracle, the longest response and a random one.

    Args:
        rules: name → rule; differences are taken from the first.
        reward: of `m` responses.
        gold: `(m,)`.
        offsets: `(prompts + 1,)`.
        length: `(m,)` characters, or None.
        sizes: n; None means powers of two and the smallest pool.
        pool: see `embrm.bestofn`.
        penalty: `(m,)` for rules that take one.
        seed: of intervals and noise.

    Raises:
        DataError: there is no gold, or a single prompt; else see `rule_curve`.
        OptionError: see `rule_curve`.
    """
    if gold is None:
        raise DataError("the pools have no gold rewards, so rules cannot be compared; add a 'gold' list to each row")
    bounds, g = np.asarray(offsets), np.asarray(gold, dtype=np.float64)
    smallest = int(np.diff(bounds).min())
    if len(bounds) < 3:
        raise DataError("the intervals of a curve come from resampling prompts, got a single prompt; add others")
    n = np.unique([*2 ** np.arange(smallest.bit_length()), smallest]) if sizes is None else np.unique(np.asarray(sizes))
    curves = {
        name: rule_curve(rule, reward, g, n, offsets=bounds, pool=pool, penalty=penalty, seed=seed)
        for name, rule in rules.items()
    }
    by: dict[str, Any] = {"oracle": g, "length": length, "random": np.zeros(len(g))}
    for name, value in by.items():
        if value is not None:
            curves[name] = bestofn.curve(value, g, n, pool=pool, offsets=bounds)
    curves["random"] = replace(curves["random"], kl=np.zeros(len(n)))
    first = next(iter(curves.values())).gold_per_prompt
    lines = {name: _line(c, first, n, seed=seed) for name, c in curves.items()}
    return RuleComparison(n, lines, len(rules), len(bounds) - 1, pool)


def _line(curve: Curve, first: Array, sizes: IntArray, *, seed: int) -> RuleLine:
    gold = curve.gold_per_prompt
    return RuleLine(
        kl=curve.kl,
        gold=bootstrap(gold, seed=seed),
        gain=bootstrap(curve.gain_per_prompt, seed=seed),
        ahead=bootstrap(gold - first, seed=seed),
        peak=int(sizes[curve.gold.argmax()]),
        drop=peak(gold, seed=seed).drop if len(gold) >= 4 else None,
        standard_error=curve.standard_error,
    )
