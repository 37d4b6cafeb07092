"""Pools of responses drawn from a proposal: their weights under the reference policy, and more texts where it pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from embrm.bestofn.tilt import TiltPath, tilt_path, tilted
from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError, OptionError
from embrm.policies.grammar import GrammarPolicy

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
        """Return the path of optima of E[r] − β·KL(π‖π_ref); see `embrm.bestofn.tilt_path`."""
        return tilt_path(self.log_weight, self.proxy, self.gold, inverse_beta=inverse_beta)

    def weights(self, inverse_beta: float) -> Array:
        """Return the share of each text under π_β, `(prompts, n)`, summing to 1 within each prompt."""
        return tilted(self.log_weight, self.proxy, inverse_beta)

    def lead(self) -> GrammarPolicy:
        """Return where the proxy leads: the factorised policy nearest to the first π_β that is unreliable so far.

        Nearest in KL(π_β‖·), so its marginals are π_β's (the cross-entropy method); a tenth of π_ref is mixed in.
        """
        path = self.path()
        point = min(path.end + 1, len(path.inverse_beta) - 1)
        w = self.weights(path.inverse_beta[point]).ravel() / len(self.counts)
        columns = self.counts.reshape(-1, self.counts.shape[2]).T
        return GrammarPolicy.from_probabilities(
            [0.9 * np.bincount(c, weights=w, minlength=len(p)) + 0.1 * p
             for c, p in zip(columns, self.reference.probabilities, strict=True)]
        )  # fmt: skip

    def refine(self, answer: Answer, *, size: int, seed: int) -> ProposalPool:
        """Return the pool with `size` texts more for each prompt, drawn where the proxy leads.

        Args:
            answer: `(counts (prompts, size, a), rng) -> (proxy, gold)`, each `(prompts, size)`: writes the texts,
                embeds and scores them.
            size: texts a prompt.
            seed: determines what is drawn.
        """
        stratum = self.lead()
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
