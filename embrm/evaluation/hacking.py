"""How far one may optimise against a reward: where gold begins to fall, and what the law of its start foretells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from embrm.bestofn import Extrapolation, GaoFit, PathRule, extrapolate, fit_gao, hack_threshold
from embrm.core.results import Reward
from embrm.errors import OptionError
from embrm.evaluation.rules import GoldPools, RuleComparison
from embrm.selectors import Selector


@dataclass(frozen=True, eq=False)
class HackThreshold:
    """The strength beyond which a rule is hacked.

    Attributes:
        strength: what grows: "best" its n, "poisson" its rate, "tilt" one over its temperature.
        at: the strength of the highest gold on these pools; infinite where gold does not fall inside them.
    """

    strength: PathRule
    at: float


def thresholds(
    rules: Mapping[str, Selector], reward: Reward, pools: GoldPools, *, penalty: npt.ArrayLike | None = None
) -> dict[str, HackThreshold]:
    """Return the threshold of each rule that has a path; the pools are taken as the policy itself.

    It is an estimate from these pools, to be used on others: on these it is the best in hindsight.

    Args:
        rules: name → rule.
        reward: of the pools' `m` responses.
        pools: with their gold.
        penalty: `(m,)` for rules that take one.

    Raises:
        DataError: the reward has not what a rule needs.
        OptionError: a pool has a single response.
    """
    out = {}
    for name, rule in rules.items():
        if rule.strength is not None:
            value = rule(reward, offsets=pools.offsets, penalty=penalty, seed=0).value
            at = hack_threshold(value, pools.gold, rule=rule.strength, offsets=pools.offsets)
            out[name] = HackThreshold(rule.strength, at)
    return out


@dataclass(frozen=True, eq=False)
class RuleLaw:
    """Gao's law of best-of-n fitted to one rule's curve.

    Attributes:
        fit: to all n.
        fitted: the largest n that the forecast's own fit saw.
        forecast: of the gain at the largest n of all, from the n up to `fitted`.
    """

    fit: GaoFit
    fitted: int
    forecast: Extrapolation

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers with their intervals."""
        return {**vars(self.fit), "fitted": self.fitted, "forecast": self.forecast}


def laws(found: RuleComparison, *, seed: int) -> dict[str, RuleLaw]:
    """Fit Gao's law (2210.10760) to the gain of each rule over a random response, and forecast its largest n.

    Args:
        found: rules compared at four n or more.
        seed: of the bootstrap.

    Raises:
        OptionError: there are fewer than four n, so that a fit to all but the largest has no two points above KL 0.
    """
    points = len(found.sizes) - 1
    if points < 3:
        raise OptionError(
            f"the law is fitted to three n or more and forecasts another, got n = {found.sizes.tolist()}; give more"
        )
    out = {}
    for name in list(found.curves)[: found.rules]:
        curve = found.curves[name]
        gain = curve.gold_per_prompt - curve.pool_mean[:, None]
        fit = fit_gao(curve.kl, gain, form="bon", seed=seed, cluster=found.cluster)
        forecast = extrapolate(curve.kl, gain, points=points, form="bon", seed=seed, cluster=found.cluster)
        out[name] = RuleLaw(fit, int(found.sizes[points - 1]), forecast)
    return out
