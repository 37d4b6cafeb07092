"""How good a reward is: on held-out preferences, and by what its best of n is worth in gold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from embrm import bestofn
from embrm.errors import DataError, OptionError
from embrm.outcomes import Reward, RewardModel
from embrm.types import Array, Candidates, Pairs

LEVEL = 0.95
M_co = TypeVar("M_co", bound=RewardModel, covariant=True)


@dataclass(frozen=True, eq=False)
class Interval:
    """Numbers of one shape with their 95 % bootstrap intervals over prompts."""

    value: Array
    low: Array
    high: Array

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in ("value", "low", "high")}


@dataclass(frozen=True, eq=False)
class PairReport:
    """What a reward makes of preference pairs.

    Attributes:
        accuracy: share of the pairs whose chosen text has the higher mean reward (equal rewards count half; ties of the
            annotators are left out).
        nll: mean negative log-likelihood of the preferences, nats; random guessing gives log 2 = 0.693.
        ece: expected calibration error over ten bins of confidence; 0 is calibrated.
        pairs, prompts: how many there were.
    """

    accuracy: Interval
    nll: Interval
    ece: Interval
    pairs: int
    prompts: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        numbers = {name: getattr(self, name).as_dict() for name in ("accuracy", "nll", "ece")}
        return {"pairs": self.pairs, "prompts": self.prompts, **numbers}


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
    """

    sizes: npt.NDArray[np.number]
    kl: Array
    reward: Mapping[str, Interval]
    gain: Mapping[str, Interval]
    of_oracle: Interval
    prompts: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "prompts": self.prompts,
            "sizes": self.sizes.tolist(),
            "kl": self.kl.tolist(),
            "reward": {name: line.as_dict() for name, line in self.reward.items()},
            "gain": {name: line.as_dict() for name, line in self.gain.items()},
            "of_oracle": self.of_oracle.as_dict(),
        }


class Recipe(Protocol[M_co]):
    """Anything that fits a reward model to pairs, as every head does."""

    def fit(self, pairs: Pairs, *, seed: int) -> M_co:
        """Fit."""


def pair_report(reward: Reward, pairs: Pairs, *, seed: int, resamples: int = 1000) -> PairReport:
    """Compare a reward with preferences.

    The probability of a preference is the mean over draws of σ(r_chosen − r_rejected).

    Args:
        reward: of all rows of `pairs.features`.
        pairs: their weights and ties count.
        seed: of the bootstrap.
        resamples: of the prompts, for the intervals.

    Raises:
        DataError: the reward is of another number of texts, or all pairs are ties.
    """
    if len(reward) != len(pairs.features):
        raise DataError(f"reward must be of the {len(pairs.features)} texts of the pairs, got {len(reward)}")
    tied = np.zeros(len(pairs), dtype=bool) if pairs.tie is None else pairs.tie
    weight = np.ones(len(pairs)) if pairs.weight is None else pairs.weight
    decided = np.where(tied, 0.0, weight)
    if not decided.sum() > 0:
        raise DataError("all pairs are ties (or have weight 0), so accuracy does not exist; add decided pairs")
    margin = reward.draws[:, pairs.chosen] - reward.draws[:, pairs.rejected]
    p = expit(margin).mean(axis=0)
    hit = 0.5 + 0.5 * np.sign(margin.mean(axis=0))
    log_odds = np.logaddexp.reduce(-np.logaddexp(0, -margin), axis=0) - np.log(len(margin))
    log_lost = np.logaddexp.reduce(-np.logaddexp(0, margin), axis=0) - np.log(len(margin))
    loss = np.where(tied, -(log_odds + log_lost) / 2, -log_odds)
    confidence = np.maximum(p, 1 - p)
    correct = 0.5 + 0.5 * np.sign(p - 0.5)
    bins = np.minimum((confidence * 20 - 10).astype(int), 9)
    gap = np.zeros((len(pairs), 10))
    gap[np.arange(len(pairs)), bins] = decided * (correct - confidence)
    sums = _by_group(np.column_stack([decided * hit, decided, weight * loss, weight, gap]), pairs.prompt)
    numbers = _interval(sums, _pair_numbers, seed=seed, resamples=resamples)
    accuracy, nll, ece = (Interval(numbers.value[i], numbers.low[i], numbers.high[i]) for i in range(3))
    return PairReport(accuracy, nll, ece, pairs=len(pairs), prompts=len(sums))


def _pair_numbers(sums: Array) -> Array:
    """Return accuracy, NLL and ECE `(..., 3)` of sums over prompts `(..., 14)`."""
    decided, weight = sums[..., 1], sums[..., 3]
    return np.stack(
        [_ratio(sums[..., 0], decided), _ratio(sums[..., 2], weight), _ratio(np.abs(sums[..., 4:]).sum(-1), decided)],
        axis=-1,
    )


def pool_report(
    reward: Reward,
    candidates: Candidates,
    *,
    sizes: npt.ArrayLike | None = None,
    pool: bestofn.Convention = "population",
    seed: int,
    resamples: int = 1000,
) -> PoolReport:
    """Return the exact best-of-n curve of the mean reward, with gold, oracle and random, on the same prompts.

    Args:
        reward: of all rows of `candidates.features`.
        candidates: pools with gold rewards.
        sizes: the n wanted; None means 1 to the smallest pool.
        pool: see `embrm.bestofn.curve`.
        seed: of the bootstrap.
        resamples: of the prompts, for the intervals.

    Raises:
        DataError: there is no gold, or a prompt has a single candidate.
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

    def interval(per_prompt: Array) -> Interval:
        return _interval(per_prompt, lambda sums: sums / len(candidates), seed=seed, resamples=resamples)

    k = len(chosen["gold"].sizes)
    scale = chosen["gold"].pool_sd.sum()  # below rounding of it, the oracle gains nothing
    return PoolReport(
        chosen["gold"].sizes,
        chosen["gold"].kl,
        reward={name: interval(x) for name, x in levels.items()},
        gain={name: interval(x) for name, x in gains.items()},
        of_oracle=_interval(
            np.hstack([levels["gold"] - levels["random"], levels["oracle"] - levels["random"]]),
            lambda sums: _ratio(sums[..., :k], np.where(sums[..., k:] > 1e-9 * scale, sums[..., k:], 0)),
            seed=seed,
            resamples=resamples,
        ),
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
    """Score the data and report on it; see `pair_report` and `pool_report`."""
    reward = model.score(data.features)
    if isinstance(data, Pairs):
        return pair_report(reward, data, seed=seed)
    return pool_report(reward.centred(), data, sizes=sizes, pool=pool, seed=seed)


def fit_and_check(recipe: Recipe[M_co], pairs: Pairs, *, seed: int, fraction: float) -> tuple[M_co, PairReport | None]:
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


def _by_group(values: Array, group: npt.NDArray[Any]) -> Array:
    number = np.unique(group, return_inverse=True)[1]
    sums = np.zeros((number.max() + 1, values.shape[1]))
    np.add.at(sums, number, values)
    return sums


def _ratio(top: Array, bottom: Array) -> Array:
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=np.asarray(bottom) != 0))


class _Statistic(Protocol):
    def __call__(self, sums: Array, /) -> Array: ...


def _interval(per_prompt: Array, statistic: _Statistic, *, seed: int, resamples: int) -> Interval:
    """Return a statistic of sums over prompts, and its percentile interval when whole prompts are redrawn."""
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([statistic(counts @ per_prompt) for counts in _redraws(len(per_prompt), resamples, rng)])
    tail = (1 - LEVEL) / 2
    # nanquantile warns where a column has no number at all; there the interval is NaN like the value.
    known = np.isfinite(drawn).any(axis=0)
    low, high = np.nanquantile(np.where(known, drawn, 0), [tail, 1 - tail], axis=0)
    value = statistic(per_prompt.sum(axis=0))
    return Interval(value, np.where(known, low, np.nan), np.where(known, high, np.nan))


def _redraws(prompts: int, resamples: int, rng: np.random.Generator) -> Iterator[Array]:
    for start in range(0, resamples, 100):  # in parts: 1000 x 50 000 prompts would take 400 MB
        yield rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=min(100, resamples - start)).astype(float)
