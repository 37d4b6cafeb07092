"""How good a reward is: on held-out preferences, and by what its best of n is worth in gold."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.core.arrays import Array
from embrm.core.data import Candidates, Pairs
from embrm.core.results import Reward, RewardModel
from embrm.errors import DataError, OptionError
from embrm.evaluation.overlap import Overlap, data_overlap
from embrm.evaluation.pair_sums import WITHIN, clusters_of, hits, pair_numbers, pair_sums
from embrm.evaluation.pool_sizes import reward_of, rows_of
from embrm.metrics.calibration import CalibrationReport, Preferences, calibration_report
from embrm.metrics.intervals import Interval, bootstrap

M_co = TypeVar("M_co", bound=RewardModel, covariant=True)


@dataclass(frozen=True, eq=False)
class PairReport:
    """What a reward makes of preference pairs.

    Attributes:
        accuracy: share of the pairs whose chosen text has the higher mean reward (equal rewards count half; ties of the
            annotators are left out).
        nll: mean negative log-likelihood of the preferences, nats; random guessing gives log 2 = 0.693.
        ece: expected calibration error over ten bins of confidence; 0 is calibrated.
        calibration: the bins of confidence behind the ECE, and the Brier score.
        pairs, prompts: how many there were.
        overlap: which of them the model was trained on; None where that is not known.
        unseen: the same of the others, where it was trained on some and enough are left to report on.
    """

    accuracy: Interval
    nll: Interval
    ece: Interval
    calibration: CalibrationReport
    pairs: int
    prompts: int
    overlap: Overlap | None = None
    unseen: PairReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        numbers = {name: _plain(getattr(self, name)) for name in ("accuracy", "nll", "ece")}
        found = {"pairs": self.pairs, "prompts": self.prompts, **numbers, "calibration": self.calibration.as_dict()}
        return found | _apart(self)


@dataclass(frozen=True, eq=False)
class PoolReport:
    """What the best of n by a reward is worth, for every n.

    Attributes:
        sizes: `(k,)` n.
        kl: `(k,)` nats from the reference policy.
        reward: name → expected reward `(k,)`: "proxy" in the proxy's units; in gold's units "gold" (best of n by the
            proxy), "oracle" (by gold itself), "random", and "length" (the longest response) where lengths are known.
        gain: the same above a random response, in standard deviations of the pool.
        of_oracle: `(k,)` gold's gain as a fraction of the oracle's; NaN where the oracle gains nothing.
        prompts: how many there were.
        overlap, unseen: see `PairReport`.
    """

    sizes: npt.NDArray[np.number]
    kl: Array
    reward: Mapping[str, Interval]
    gain: Mapping[str, Interval]
    of_oracle: Interval
    prompts: int
    overlap: Overlap | None = None
    unseen: PoolReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "prompts": self.prompts,
            "sizes": self.sizes.tolist(),
            "kl": self.kl.tolist(),
            "reward": {name: _plain(line) for name, line in self.reward.items()},
            "gain": {name: _plain(line) for name, line in self.gain.items()},
            "of_oracle": _plain(self.of_oracle),
            **_apart(self),
        }


class Fits(Protocol[M_co]):
    """Anything that fits a reward model to pairs, as every head does."""

    def fit(self, pairs: Pairs, *, seed: int) -> M_co:
        """Fit."""


def pair_report(reward: Reward, pairs: Pairs, *, seed: int) -> PairReport:
    """Compare a reward with preferences.

    The probability of a preference is the mean over draws of σ(r_chosen − r_rejected).

    Args:
        reward: of all rows of `pairs.features`.
        pairs: their weights and ties count.
        seed: of the bootstrap.

    Raises:
        DataError: the reward is of another number of texts, or all pairs are ties.
    """
    seen = Preferences.of(reward, pairs)
    sums = pair_sums(seen, hits(reward, pairs), pairs.prompt)
    if len(sums) > 1:
        found = bootstrap(sums, seed=seed, statistic=pair_numbers, cluster=clusters_of(pairs), within=WITHIN)
    else:  # one prompt cannot be resampled, and its numbers are still worth reporting
        found = Interval(pair_numbers(sums[0]), np.full(3, np.nan), np.full(3, np.nan), n=1, level=0.95)
    accuracy, nll, ece = (
        replace(found, estimate=found.estimate[i], low=found.low[i], high=found.high[i]) for i in range(3)
    )
    return PairReport(accuracy, nll, ece, calibration_report(reward, pairs), pairs=len(pairs), prompts=len(sums))


def pool_report(
    reward: Reward,
    candidates: Candidates,
    *,
    sizes: npt.ArrayLike | None = None,
    pool: bestofn.Convention = "population",
    seed: int,
) -> PoolReport:
    """Return the exact best-of-n curve of the mean reward, with gold, oracle and random, on the same prompts.

    Args:
        reward: of all rows of `candidates.features`.
        candidates: pools with gold rewards.
        sizes: the n wanted; None means those of `embrm.bestofn.sizes_up_to` the smallest pool.
        pool: see `embrm.bestofn.curve`.
        seed: of the bootstrap.

    Raises:
        DataError: there is no gold, a prompt has a single candidate, or there is a single prompt.
        OptionError: `sizes` are not in the pools.
    """
    if candidates.gold is None:
        raise DataError(
            "the pools have no gold rewards, so a curve in gold does not exist; add a 'gold' list to each row"
        )
    single = np.flatnonzero(np.diff(candidates.offsets) == 1)
    if single.size:
        raise DataError(
            f"{single.size} of {len(candidates)} prompts have a single candidate, first: number {single[0] + 1}; "
            "best of n needs at least two, remove those prompts"
        )
    if len(candidates) < 2:
        raise DataError("the intervals of a curve come from resampling prompts, got a single prompt; add others")
    proxy, gold, offsets = reward.mean, candidates.gold, candidates.offsets
    chosen = {"gold": bestofn.curve(proxy, gold, sizes, pool=pool, offsets=offsets)}
    chosen["oracle"] = bestofn.curve(gold, gold, sizes, pool=pool, offsets=offsets)
    if candidates.features.length is not None:
        chosen["length"] = bestofn.curve(candidates.features.length, gold, sizes, pool=pool, offsets=offsets)
    chosen["proxy"] = bestofn.curve(proxy, proxy, sizes, pool=pool, offsets=offsets)
    levels = {name: c.gold_per_prompt for name, c in chosen.items()}
    gains = {name: c.gain_per_prompt for name, c in chosen.items()}
    levels["random"] = np.repeat(chosen["gold"].pool_mean[:, None], len(chosen["gold"].sizes), axis=1)
    gains["random"] = np.zeros_like(levels["random"])
    of_rows = candidates.features.cluster
    cluster = None if of_rows is None else of_rows[offsets[:-1]]
    return PoolReport(
        chosen["gold"].sizes,
        chosen["gold"].kl,
        reward={name: bootstrap(x, seed=seed, cluster=cluster) for name, x in levels.items()},
        gain={name: bootstrap(x, seed=seed, cluster=cluster) for name, x in gains.items()},
        of_oracle=bestofn.oracle_fraction(chosen["gold"], chosen["oracle"], seed=seed, cluster=cluster),
        prompts=len(candidates),
    )


def report(
    model: RewardModel,
    data: Pairs | Candidates,
    *,
    sizes: npt.ArrayLike | None = None,
    pool: bestofn.Convention = "population",
    seed: int,
) -> PairReport | PoolReport:
    """Score the data and report on it; see `pair_report` and `pool_report`.

    Where the model knows that it was trained on some of the rows, or on their prompts, a `TrainedOnWarning` says so,
    and the report has one of the other rows beside it.
    """
    reward, overlap = model.score(data.features), data_overlap(model, data)
    if overlap is not None:
        overlap.warn()
    if isinstance(data, Pairs):
        pairs, few = pair_report(reward, data, seed=seed), None
        if overlap is not None and overlap.mixed:
            with suppress(DataError):  # too few are left, or all are ties
                few = pair_report(reward, data.take(~overlap.seen), seed=seed)
        return replace(pairs, overlap=overlap, unseen=few)
    reward = reward.centred()
    pools, rest = pool_report(reward, data, sizes=sizes, pool=pool, seed=seed), None
    if overlap is not None and overlap.mixed:
        others = np.flatnonzero(~overlap.seen)
        own = reward_of(reward, rows_of(data.offsets, others)[0])
        with suppress(DataError):  # a single pool is left
            rest = pool_report(own, data.take(others), sizes=pools.sizes, pool=pool, seed=seed)
    return replace(pools, overlap=overlap, unseen=rest)


def _apart(report: PairReport | PoolReport) -> dict[str, Any]:
    if report.overlap is None:
        return {}
    return {"training": report.overlap.as_dict(), "unseen": report.unseen and report.unseen.as_dict()}


def fit_and_check(recipe: Fits[M_co], pairs: Pairs, *, seed: int, fraction: float) -> tuple[M_co, PairReport | None]:
    """Fit on all but a fraction of the prompts and report on those; fraction 0 fits on all and reports nothing.

    Raises:
        DataError: all pairs belong to one prompt, so that none can be held out.
        OptionError: `fraction` is not inside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise OptionError(f"fraction must be inside [0, 1), got {fraction}")
    if fraction == 0:
        return recipe.fit(pairs, seed=seed), None
    train, held = pairs.split(fraction, seed=seed)
    model = recipe.fit(train, seed=seed)
    return model, pair_report(model.score(held.features), held, seed=seed)


def _plain(line: Interval) -> dict[str, Any]:
    return {name: getattr(line, name).tolist() for name in ("estimate", "low", "high")}
