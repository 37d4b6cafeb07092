"""The path of KL-regularised optima over a pool of responses, by self-normalised importance sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.errors import DataError, OptionError
from embrm.policies.grammar import GrammarPolicy

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
        gold: `(b, prompts)` expected gold reward.
        ess: `(b, prompts)` effective sample size.
    """

    inverse_beta: Array
    kl: Array
    proxy: Array
    gold: Array
    ess: Array

    @property
    def reliable(self) -> BoolArray:
        """`(b,)` False where the median effective sample size over prompts is below 100."""
        return np.asarray(np.median(self.ess, axis=1) >= RELIABLE_ESS)

    @property
    def end(self) -> int:
        """Index of the last point before the first unreliable one (0 where none but π_ref could be reliable)."""
        return self.believed() - 1

    def believed(self, least: float = RELIABLE_ESS) -> int:
        """Return how many points come before the first whose median effective sample size is below that, 1 or more."""
        return int(np.argmin(np.append(np.median(self.ess, axis=1) >= least, False))) or 1


def tilted(log_weight: Array, proxy: Array, inverse_beta: float) -> Array:
    """Return the share of each text under π_β ∝ π_ref·exp(r/β), `(prompts, n)`, summing to 1 within each prompt.

    Args:
        log_weight: `(prompts, n)` log π_ref − log q up to a constant of each prompt; minus infinity where there is no
            text. Of a pool that is itself the reference policy, uniform, all are 0.
        proxy: `(prompts, n)`.
        inverse_beta: 1/β.
    """
    log_w = log_weight + inverse_beta * proxy
    return np.asarray(np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True)))


def tilt(log_weight: Array, proxy: Array, gold: Array, *, inverse_beta: npt.ArrayLike | None = None) -> TiltPath:
    """Return the path of optima of E[r] − β·KL(π‖π_ref), normalised within each prompt.

    Self-normalised importance sampling; the KL is that of the weights, Σ w log(w/w_ref) = E[r]/β − log(Z_β/Z_∞), and
    ESS = 1/Σw².

    Args:
        log_weight: see `tilted`.
        proxy: `(prompts, n)`.
        gold: `(prompts, n)`.
        inverse_beta: rising values of 1/β from 0; None: 40, to 8 over the proxy's standard deviation under π_ref.

    Raises:
        OptionError: `inverse_beta` does not rise from 0.
        DataError: the proxy is constant within every prompt.
    """
    if inverse_beta is None:
        inverse_beta = np.linspace(0, np.sqrt(8), 40) ** 2 / reference_sd(log_weight, proxy)
    eta = np.asarray(inverse_beta, dtype=np.float64)
    if eta.ndim != 1 or len(eta) == 0 or eta[0] != 0 or (np.diff(eta) <= 0).any():
        raise OptionError(f"inverse_beta must rise from 0, got {eta}; sort it and begin with 0")
    points, zero = [], logsumexp(log_weight, axis=1)
    for value in eta.tolist():
        log_w = log_weight + value * proxy
        top = log_w.max(axis=1)
        w = np.exp(log_w - top[:, None])
        total = w.sum(axis=1)
        w /= total[:, None]
        mean, mean_gold, squares = (np.einsum("ij,ij->i", w, x) for x in (proxy, gold, w))
        # Σ w log(w/w_ref) without a logarithm for each text; rounding may leave it below 0.
        kl = np.maximum(value * mean - (np.log(total) + top - zero), 0.0)
        points.append([kl, mean, mean_gold, squares])
    kl, mean, mean_gold, squares = np.stack(points, axis=1)
    return TiltPath(eta, kl, mean, mean_gold, 1 / squares)


def reference_sd(log_weight: Array, proxy: Array) -> float:
    """Return the proxy's standard deviation within prompts under π_ref.

    Raises:
        DataError: the proxy is constant within every prompt.
    """
    start = tilted(log_weight, proxy, 0.0)
    mean = (start * proxy).sum(axis=1, keepdims=True)
    sd = float(np.sqrt((start * (proxy - mean) ** 2).sum(axis=1).mean()))
    if sd == 0:
        raise DataError("the proxy is constant within every prompt, so there is no path; check the reward")
    return sd


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

    @cached_property
    def log_weight(self) -> Array:
        """Log π_ref − log q of each text, `(prompts, n)`: of the attributes alone."""
        flat = self.counts.reshape(-1, self.counts.shape[2])
        return self.proposal.log_weight(flat, reference=self.reference).reshape(self.counts.shape[:2])

    def path(self, *, inverse_beta: npt.ArrayLike | None = None) -> TiltPath:
        """Return the path of optima of E[r] − β·KL(π‖π_ref); see `tilt`."""
        return tilt(self.log_weight, self.proxy, self.gold, inverse_beta=inverse_beta)

    def weights(self, inverse_beta: float) -> Array:
        """Return the share of each text under π_β, `(prompts, n)`, summing to 1 within each prompt."""
        return tilted(self.log_weight, self.proxy, inverse_beta)

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
