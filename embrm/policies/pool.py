"""The path of KL-regularised optima over a pool of responses, by self-normalised importance sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from embrm.errors import DataError, OptionError
from embrm.policies.grammar import GrammarPolicy
from embrm.types import Array, BoolArray, IntArray, as_vector, check_offsets

RELIABLE_ESS = 100
Answer: TypeAlias = Callable[[IntArray, np.random.Generator], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a pool was drawn from: so many texts of each stratum for every prompt, the same strata for all.

    Attributes:
        strata: the policies.
        sizes: how many texts each of them wrote for a prompt.
    """

    strata: tuple[GrammarPolicy, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.strata) != len(self.sizes) or not self.sizes or min(self.sizes) < 1:
            raise OptionError(
                f"expected one positive size for each of {len(self.strata)} strata, got {self.sizes}; "
                "leave empty ones out"
            )

    def draw(self, *, rng: np.random.Generator) -> IntArray:
        """Draw the counts `(sum(sizes), a)` of one prompt, stratum after stratum."""
        return np.concatenate([s.sample(n, rng=rng) for s, n in zip(self.strata, self.sizes, strict=True)])

    def log_weight(self, counts: npt.ArrayLike, *, reference: GrammarPolicy) -> Array:
        """Return log π_ref − log q `(n,)`, q the mixture of all strata (Veach's balance heuristic)."""
        share = np.log(np.asarray(self.sizes) / sum(self.sizes))
        mixture = logsumexp([s.log_probability(counts) + w for s, w in zip(self.strata, share, strict=True)], axis=0)
        return np.asarray(reference.log_probability(counts) - mixture)

    def joined(self, stratum: GrammarPolicy, *, size: int) -> Proposal:
        """Return the proposal with one stratum more."""
        return Proposal((*self.strata, stratum), (*self.sizes, size))


@dataclass(frozen=True, eq=False)
class TiltPath:
    """The optima π_β ∝ π_ref·exp(r/β) for a row of β, prompt by prompt.

    Attributes:
        inverse_beta: `(b,)` increasing values of 1/β; the first is 0, which is π_ref itself.
        kl: `(b, prompts)` KL(π_β‖π_ref) in nats.
        proxy: `(b, prompts)` expected proxy reward.
        gold: `(b, prompts)` expected gold reward, or None.
        ess: `(b, prompts)` effective sample size.
    """

    inverse_beta: Array
    kl: Array
    proxy: Array
    gold: Array | None
    ess: Array

    @property
    def reliable(self) -> BoolArray:
        """`(b,)` False where the median effective sample size over prompts is below 100."""
        return np.asarray(np.median(self.ess, axis=1) >= RELIABLE_ESS)

    @property
    def end(self) -> int:
        """Index of the last point before the first unreliable one (0 where none but π_ref could be reliable)."""
        return int(np.argmin(np.append(self.reliable, False))) - 1 if self.reliable[0] else 0


def tilt_path(
    proxy: npt.ArrayLike,
    *,
    gold: npt.ArrayLike | None = None,
    log_weight: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    inverse_beta: npt.ArrayLike | None = None,
    points: int = 40,
) -> TiltPath:
    """Return the path of optima of E[r] − β·KL(π‖π_ref) over pools, normalised within each prompt.

    Self-normalised importance sampling: weights ∝ exp(log_weight + r/β), ESS = (Σw)²/Σw², and
    KL = E_β[r]/β − log E_ref[exp(r/β)].

    Args:
        proxy: `(m,)` the reward that is optimised.
        gold: `(m,)` the reward that counts.
        log_weight: `(m,)` log π_ref − log q of each row, q what the pool was drawn from; None: drawn from π_ref, or
            the pool is itself the whole support.
        offsets: `(prompts + 1,)` boundaries of the pools; None: one pool.
        inverse_beta: increasing values of 1/β, the first 0; None: `points` values from 0 to 8 standard deviations of
            the proxy within prompts, even in their square roots.
        points: how many, where `inverse_beta` is not given.

    Raises:
        DataError: an array has another length than `proxy`, or holds NaN.
        OptionError: `inverse_beta` does not rise from 0.
    """
    r = as_vector(proxy, "proxy", np.asarray(proxy).size, np.float64)
    bounds = check_offsets(offsets, len(r))
    base = np.zeros(len(r)) if log_weight is None else as_vector(log_weight, "log_weight", len(r), np.float64)
    g = None if gold is None else as_vector(gold, "gold", len(r), np.float64)
    eta = _default_grid(r, base, bounds, points) if inverse_beta is None else np.asarray(inverse_beta, dtype=np.float64)
    if eta.ndim != 1 or len(eta) == 0 or eta[0] != 0 or (np.diff(eta) <= 0).any():
        raise OptionError(f"inverse_beta must rise from 0, got {eta}; sort it and begin with 0")
    out = np.empty((4, len(eta), len(bounds) - 1))
    for p, (start, stop) in enumerate(pairwise(bounds)):
        rows = slice(start, stop)
        log_w = base[rows] + eta[:, None] * (r[rows] - r[rows].max())
        log_z = logsumexp(log_w, axis=1)
        w = np.exp(log_w - log_z[:, None])
        mean = w @ r[rows]
        out[0, :, p] = eta * (mean - r[rows].max()) - (log_z - log_z[0])
        out[1, :, p] = mean
        out[2, :, p] = np.nan if g is None else w @ g[rows]
        out[3, :, p] = 1 / (w**2).sum(axis=1)
    return TiltPath(eta, np.maximum(out[0], 0), out[1], None if g is None else out[2], out[3])


def _default_grid(r: Array, base: Array, bounds: IntArray, points: int) -> Array:
    """Return 1/β in units of the proxy's standard deviation under π_ref, which alone sets the scale of the path."""
    variance = []
    for start, stop in pairwise(bounds):
        w = np.exp(base[start:stop] - logsumexp(base[start:stop]))
        variance.append(w @ (r[start:stop] - w @ r[start:stop]) ** 2)
    sd = float(np.sqrt(np.mean(variance)))
    if sd == 0:
        raise DataError("the proxy is constant within every prompt, so that there is no path; check the reward")
    return np.asarray(np.linspace(0, np.sqrt(8), points) ** 2 / sd)


@dataclass(frozen=True, eq=False)
class ProposalPool:
    """A pool of responses to several prompts, drawn from one proposal and scored.

    Attributes:
        reference: π_ref.
        proposal: what each prompt's texts were drawn from.
        counts: `(prompts, n, a)` attribute counts.
        proxy: `(prompts, n)` reward model's scores.
        gold: `(prompts, n)` gold rewards.
    """

    reference: GrammarPolicy
    proposal: Proposal
    counts: IntArray
    proxy: Array
    gold: Array

    def __post_init__(self) -> None:
        shape = self.counts.shape
        if len(shape) != 3 or shape[1] != sum(self.proposal.sizes) or shape[2] != len(self.reference.logits):
            raise DataError(
                f"counts must be (prompts, {sum(self.proposal.sizes)}, {len(self.reference.logits)}), got {shape}; "
                "give every prompt the texts of one proposal"
            )
        if self.proxy.shape != shape[:2] or self.gold.shape != shape[:2]:
            raise DataError(f"proxy and gold must be {shape[:2]}, got {self.proxy.shape} and {self.gold.shape}")

    @property
    def log_weight(self) -> Array:
        """Log π_ref − log q of each text, `(prompts, n)`: of the attributes alone."""
        flat = self.counts.reshape(-1, self.counts.shape[2])
        return self.proposal.log_weight(flat, reference=self.reference).reshape(self.counts.shape[:2])

    def path(self, *, inverse_beta: npt.ArrayLike | None = None) -> TiltPath:
        """Return the path of optima over this pool, see `tilt_path`."""
        offsets = np.arange(len(self.counts) + 1) * self.counts.shape[1]
        return tilt_path(
            self.proxy.ravel(),
            gold=self.gold.ravel(),
            log_weight=self.log_weight.ravel(),
            offsets=offsets,
            inverse_beta=inverse_beta,
        )

    def weights(self, inverse_beta: float) -> Array:
        """Return the share of each text under π_β, `(prompts, n)`, summing to 1 within each prompt."""
        log_w = self.log_weight + inverse_beta * self.proxy
        return np.asarray(np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True)))

    def refine(self, answer: Answer, *, size: int, seed: int) -> ProposalPool:
        """Return the pool with `size` texts more for each prompt, drawn where the proxy leads.

        The new stratum is the factorised policy nearest to π_β (in KL(π_β‖·), so its marginals are π_β's: the
        cross-entropy method) at the first β that is unreliable so far, mixed with a tenth of π_ref.

        Args:
            answer: `(counts (prompts, size, a), rng) -> (proxy, gold)`, each `(prompts, size)`: writes the texts,
                embeds and scores them.
            size: texts a prompt.
            seed: determines what is drawn.
        """
        path = self.path()
        point = min(path.end + 1, len(path.inverse_beta) - 1)
        w = self.weights(path.inverse_beta[point]).ravel() / len(self.counts)
        columns = self.counts.reshape(-1, self.counts.shape[2]).T
        stratum = GrammarPolicy.from_probabilities(
            [0.9 * np.bincount(c, weights=w, minlength=len(p)) + 0.1 * p
             for c, p in zip(columns, self.reference.probabilities, strict=True)]
        )  # fmt: skip
        rng = np.random.default_rng(seed)
        counts = np.stack([stratum.sample(size, rng=rng) for _ in self.counts])
        proxy, gold = answer(counts, rng)
        return ProposalPool(
            self.reference,
            self.proposal.joined(stratum, size=size),
            np.concatenate([self.counts, counts], axis=1),
            np.concatenate([self.proxy, proxy], axis=1),
            np.concatenate([self.gold, gold], axis=1),
        )
