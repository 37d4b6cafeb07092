"""Whether a reward's probabilities of preference are right: measures, temperature, abstention with a guarantee."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, logsumexp

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Pairs
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError

BINS = 10
TEMPERATURES = (1e-2, 1e2)


@dataclass(frozen=True, eq=False)
class Preferences:
    """What a reward says of pairs, `(n,)` each.

    Attributes:
        p: P(chosen ≻ rejected), the mean over draws of σ(r_chosen − r_rejected).
        loss: negative log-likelihood, nats; of a tie the mean of both outcomes.
        weight: of the pair.
        decided: `weight`, or 0 for a tie.
    """

    p: Array
    loss: Array
    weight: Array
    decided: Array

    @classmethod
    def of(cls, reward: Reward, pairs: Pairs) -> Preferences:
        """Compare a reward of all rows of `pairs.features` with the pairs.

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
        log_won = logsumexp(log_expit(margin), axis=0) - np.log(len(margin))
        log_lost = logsumexp(log_expit(-margin), axis=0) - np.log(len(margin))
        loss = np.where(tied, -(log_won + log_lost) / 2, -log_won)
        return cls(expit(margin).mean(axis=0), loss, weight, decided)

    @property
    def confidence(self) -> Array:
        """Probability of the outcome that is the more probable."""
        return np.asarray(np.maximum(self.p, 1 - self.p))

    @property
    def correct(self) -> Array:
        """1 where the more probable outcome came, 0 where the other, and 0.5 where both are equally probable."""
        return np.asarray(0.5 + 0.5 * np.sign(self.p - 0.5))

    @property
    def bin(self) -> IntArray:
        """Which of ten equal bins of confidence, from 0.5 to 1, a pair is in."""
        return np.minimum((self.confidence * 2 * BINS - BINS).astype(np.int64), BINS - 1)

    @property
    def nll(self) -> float:
        """Mean loss."""
        return float(np.average(self.loss, weights=self.weight))


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """How far probabilities of preference are from shares.

    Attributes:
        ece: expected calibration error: mean over pairs of |share correct − confidence| of their bin.
        brier: mean squared error (1 − P(chosen ≻ rejected))²; always saying one half gives 0.25.
        nll: mean negative log-likelihood, nats.
        edges: `(11,)` bounds of the bins of confidence.
        weight: `(10,)` summed weight of the pairs in each bin.
        confidence, accuracy: `(10,)` their means in each bin, NaN in an empty one: the reliability diagram.
    """

    ece: float
    brier: float
    nll: float
    edges: Array
    weight: Array
    confidence: Array
    accuracy: Array

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; an empty bin has null."""
        table = {
            name: [None if math.isnan(v) else v for v in getattr(self, name).tolist()]
            for name in ("edges", "weight", "confidence", "accuracy")
        }
        return {"ece": self.ece, "brier": self.brier, "nll": self.nll, **table}


def calibration_report(reward: Reward, pairs: Pairs) -> CalibrationReport:
    """Measure the calibration of a reward on held-out pairs; ties count for the NLL alone.

    Args:
        reward: of all rows of `pairs.features`.
        pairs: their weights and ties count.

    Raises:
        DataError: the reward is of another number of texts, or all pairs are ties.

    Examples:
        >>> import numpy as np
        >>> from embrm.core.data import Pairs
        >>> from embrm.core.results import Reward
        >>> pairs = Pairs.from_arrays(np.zeros((4, 1)), chosen=[0, 3], rejected=[1, 2])
        >>> report = calibration_report(Reward(np.array([[np.log(3), 0.0, np.log(3), 0.0]]), "point"), pairs)
        >>> round(report.ece, 6), round(report.brier, 6)  # says 75 %, and is right once of two times
        (0.25, 0.3125)
    """
    seen = Preferences.of(reward, pairs)
    weight = np.bincount(seen.bin, seen.decided, minlength=BINS).astype(np.float64)

    def share(values: Array) -> Array:
        sums = np.bincount(seen.bin, seen.decided * values, minlength=BINS)
        return np.asarray(np.divide(sums, weight, out=np.full(BINS, np.nan), where=weight > 0))

    confidence, accuracy = share(seen.confidence), share(seen.correct)
    return CalibrationReport(
        ece=float(np.nansum(weight * np.abs(accuracy - confidence)) / weight.sum()),
        brier=float(np.average((1 - seen.p) ** 2, weights=seen.decided)),
        nll=seen.nll,
        edges=np.linspace(0.5, 1, BINS + 1),
        weight=weight,
        confidence=confidence,
        accuracy=accuracy,
    )


def tempered(reward: Reward, temperature: float) -> Reward:
    """Return the reward divided by a temperature: above 1 it is less sure of every preference.

    Raises:
        OptionError: the temperature is not above 0.

    Examples:
        >>> import numpy as np
        >>> from embrm.core.results import Reward
        >>> tempered(Reward(np.array([[2.0, -1.0]]), "point"), 2.0).mean
        array([ 1. , -0.5])
    """
    if not temperature > 0:
        raise OptionError(f"temperature must be > 0, got {temperature}")
    return replace(
        reward,
        draws=reward.draws / temperature,
        sigma=None if reward.sigma is None else reward.sigma / temperature,
        reference=None if reward.reference is None else reward.reference / temperature,
    )


def fit_temperature(reward: Reward, validation: Pairs) -> float:
    """Return the temperature of least NLL on validation pairs (Guo et al. 1706.04599).

    It is searched inside 0.01..100; at a bound (all pairs ordered correctly, or the reward says nothing) it is that
    bound.

    Raises:
        DataError: the reward is of another number of texts, or all pairs are ties.

    Examples:
        >>> import numpy as np
        >>> from embrm.core.data import Pairs
        >>> from embrm.core.results import Reward
        >>> right, wrong = [0] * 3, [1] * 3  # the text 0 is preferred in three pairs of four
        >>> pairs = Pairs.from_arrays(np.zeros((2, 1)), chosen=[*right, 1], rejected=[*wrong, 0])
        >>> round(fit_temperature(Reward(np.array([[2 * np.log(3), 0.0]]), "point"), pairs), 2)  # 75 % is log 3
        2.0
    """

    def nll(log_temperature: float) -> float:
        return Preferences.of(tempered(reward, math.exp(log_temperature)), validation).nll

    low, high = math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1])
    # The NLL of a mixture of draws need not be convex: the best of a grid, then its neighbourhood.
    grid = np.linspace(low, high, 25)
    best = int(np.argmin([nll(t) for t in grid]))
    bounds = (grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)])
    found = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(math.exp(found.x))


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a reward with the right to abstain makes of pairs.

    Attributes:
        decided: `(n,)` False where it abstains: both outcomes are plausible, or neither is.
        coverage: share of the pairs whose outcome is in the prediction set; at least 1 − alpha on average.
        accuracy: share of the decided pairs that are decided correctly, NaN where none is.
        alpha: the nominal share of outcomes outside their prediction set.
    """

    decided: BoolArray
    coverage: float
    accuracy: float
    alpha: float

    @property
    def abstained(self) -> float:
        """Share of the pairs without a decision."""
        return float(1 - self.decided.mean())


@dataclass(frozen=True)
class Abstention:
    """A split-conformal rule: an outcome is plausible when its probability is at least 1 − threshold.

    Attributes:
        threshold: quantile of 1 − P(outcome) on calibration pairs.
        alpha: the nominal share of outcomes outside their prediction set.
        prompts: calibration prompts; one pair of each was used.

    Examples:
        >>> import numpy as np
        >>> from embrm.core.data import Pairs
        >>> from embrm.core.results import Reward
        >>> rows = np.arange(0, 400, 2)
        >>> pairs = Pairs.from_arrays(np.zeros((400, 1)), chosen=rows, rejected=rows + 1, prompt=np.arange(400) // 2)
        >>> reward = Reward(np.random.default_rng(0).normal(size=(1, 400)) + np.tile([1.0, 0.0], 200), "point")
        >>> rule = Abstention.fit(reward, pairs, alpha=0.1, seed=0)
        >>> bool(rule.decide(reward, pairs).coverage >= 0.9)
        True
    """

    threshold: float
    alpha: float
    prompts: int

    @classmethod
    def fit(cls, reward: Reward, pairs: Pairs, *, alpha: float = 0.1, seed: int) -> Abstention:
        """Calibrate on pairs that the reward was not trained on (Vovk et al. 2005; Angelopoulos & Bates 2107.07511).

        Pairs of one prompt are not independent, so one of each prompt is drawn. Ties are left out. For a pair of a new
        prompt, P(its outcome is plausible) ≥ 1 − alpha.

        Args:
            reward: of all rows of `pairs.features`.
            pairs: calibration pairs.
            alpha: the share of outcomes that may be missed.
            seed: of the draw.

        Raises:
            OptionError: `alpha` is not inside (0, 1), or there are fewer than 1/alpha − 1 prompts to reach it with.
        """
        if not 0 < alpha < 1:
            raise OptionError(f"alpha must be inside (0, 1), got {alpha}")
        seen = Preferences.of(reward, pairs)
        usable = np.flatnonzero(seen.decided > 0)
        mixed = np.random.default_rng(seed).permutation(usable)
        kept = mixed[np.unique(pairs.prompt[mixed], return_index=True)[1]]
        rank = math.ceil((len(kept) + 1) * (1 - alpha) - 1e-9)
        if rank > len(kept):
            raise OptionError(
                f"alpha = {alpha} needs at least {math.ceil(1 / alpha - 1 - 1e-9)} prompts with decided pairs, "
                f"got {len(kept)}; raise alpha or add prompts"
            )
        return cls(float(np.sort(1 - seen.p[kept])[rank - 1]), alpha, len(kept))

    def plausible(self, p: Array) -> BoolArray:
        """Return whether each outcome is plausible, `(2, n)`: chosen ≻ rejected, and the other."""
        return np.stack([1 - p <= self.threshold, p <= self.threshold])

    def decide(self, reward: Reward, pairs: Pairs) -> Decisions:
        """Decide the pairs that have exactly one plausible outcome, and measure how that went; ties are ignored."""
        seen = Preferences.of(reward, pairs)
        chosen, other = self.plausible(seen.p)
        decided = chosen != other
        weight = seen.decided * decided
        return Decisions(
            decided=decided,
            coverage=float(np.average(chosen, weights=seen.decided)),
            accuracy=float(np.average(chosen, weights=weight)) if weight.sum() > 0 else math.nan,
            alpha=self.alpha,
        )
