"""Which texts a sample of the world consists of: splits of topics, wordings and strata, all from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError
from embrm.policies.grammar import GrammarPolicy
from embrm.policies.pool import Proposal
from embrm.world.world import Responses, World

PAIRS = 4000  # training pairs that are drawn unless others are asked for
STOCK = 192  # texts of π_ref of each training prompt, which pairs are formed among
POOL = 128  # texts of π_ref of each prompt to choose from
HELD_OUT = slice(5, None, 6)  # topics that no training pair is about
PAIR_WORDINGS = 1  # the pairs ask in the first wordings only, so that all prompts to choose for are new paraphrases

# What a pool is drawn from beside π_ref: texts a prompt, and the mean counts to which π_ref is tilted. These lie where
# the optima of pilots went, at 4 nats and half-way: of heads that learned from fair annotators, from confounded texts
# and from biased annotators. The last is overloaded with style, beyond what any training text has.
STRATA: tuple[tuple[int, Mapping[str, float]], ...] = (
    (16, {"correct": 3.3, "wrong": 0.45, "flattery": 0.35, "hedging": 0.5}),
    (16, {"correct": 3.0, "wrong": 0.6, "flattery": 0.65, "padding": 0.65, "overconfidence": 0.42, "hedging": 0.55}),
    (16, {"correct": 3.2, "wrong": 0.7, "flattery": 1.1, "padding": 0.9, "overconfidence": 0.55, "hedging": 0.75}),
    (18, {"correct": 2.6, "wrong": 0.55, "flattery": 0.95, "padding": 0.7, "overconfidence": 0.6, "hedging": 0.5}),
    (18, {"correct": 2.8, "wrong": 0.6, "flattery": 1.6, "padding": 0.9, "overconfidence": 0.95, "hedging": 0.7}),
    (12, {"correct": 2.5, "flattery": 4.8, "padding": 2.5, "overconfidence": 2}),
)


@dataclass(frozen=True, eq=False)
class Layout:
    """The splits of a sample.

    Attributes:
        training: `(t,)` topics of the training pairs.
        held_out: topics that occur in no training pair.
        prompts: `(p, 2)` topic and wording of each prompt to choose for.
        proposal: what the texts of such a prompt are drawn from; its first stratum is π_ref.
        stock: how many texts of π_ref each training prompt has.
    """

    training: IntArray
    held_out: IntArray
    prompts: IntArray
    proposal: Proposal
    stock: int

    @property
    def pool(self) -> int:
        """How many texts of π_ref each prompt has."""
        return self.proposal.sizes[0]

    @classmethod
    def of(
        cls,
        world: World,
        *,
        stock: int | None = None,
        pool: int | None = None,
        strata: Sequence[tuple[int, Mapping[str, float]]] | None = None,
    ) -> Layout:
        """Return the layout for a world; what is not given is as in the shipped data.

        Raises:
            DataError: no topic is asked in a wording that the pairs do not use.
        """
        topics = np.arange(len(world.topics))
        held_out = topics[HELD_OUT]
        asked = [(t, q) for t in topics for q in range(PAIR_WORDINGS, len(world.spec.topics[t].questions))]
        if not asked:
            raise DataError("every topic has one wording, which the pairs use; add a second to 'questions'")
        strata = STRATA if strata is None else strata
        reference = GrammarPolicy.from_probabilities(world.reference)
        proposal = Proposal(
            (reference, *(tilted_to(world, means) for _, means in strata)),
            (POOL if pool is None else pool, *(size for size, _ in strata)),
        )
        return cls(
            np.setdiff1d(topics, held_out), held_out, np.array(asked), proposal, STOCK if stock is None else stock
        )

    def joined(self, stratum: GrammarPolicy, *, size: int) -> Layout:
        """Return the layout with one stratum more."""
        return replace(self, proposal=self.proposal.joined(stratum, size=size))


def tilted_to(world: World, means: Mapping[str, float]) -> GrammarPolicy:
    """Return π_ref with some attributes tilted exponentially until their counts have the given means."""
    logits: list[Array] = []
    for name, p in zip(world.attributes, world.reference, strict=True):
        x, uses = np.log(p), np.arange(len(p))
        if name in means:
            slope = brentq(lambda t, x=x, uses=uses, m=means[name]: softmax(x + t * uses) @ uses - m, -50, 50)
            x = x + slope * uses
        logits.append(x)
    return GrammarPolicy(tuple(logits))


def draw_training(world: World, layout: Layout, *, seed: int) -> Responses:
    """Write the texts that pairs are formed among: `stock` for each training topic and wording."""
    parts = [
        _texts(world, layout.proposal.strata[0], layout.stock, t, q, [seed, 0, t, q])
        for t in layout.training.tolist()
        for q in range(PAIR_WORDINGS)
    ]
    return joined_responses(parts)


def draw_pools(world: World, layout: Layout, *, seed: int) -> Responses:
    """Write the texts to choose from: prompt by prompt, and stratum after stratum."""
    strata = range(len(layout.proposal.sizes))
    return joined_responses([draw_stratum(world, layout, k, p, seed=seed) for p in layout.prompts for k in strata])


def draw_stratum(world: World, layout: Layout, stratum: int, prompt: IntArray, *, seed: int) -> Responses:
    """Write one stratum of one prompt, which depends on its number alone, and not on which others there are."""
    t, q = prompt.tolist()
    policy, size = layout.proposal.strata[stratum], layout.proposal.sizes[stratum]
    return _texts(world, policy, size, t, q, [seed, 1, t, q, stratum])


def _texts(world: World, policy: GrammarPolicy, n: int, topic: int, wording: int, seed: list[int]) -> Responses:
    rng = np.random.default_rng(seed)
    counts = policy.sample(n, rng=rng)
    return world.respond(np.full(n, topic), counts, rng=rng, question=np.full(n, wording))


def joined_responses(parts: Sequence[Responses]) -> Responses:
    """Return several responses as one."""
    return Responses(
        np.concatenate([p.topic for p in parts]),
        np.concatenate([p.question for p in parts]),
        np.concatenate([p.counts for p in parts]),
        [prompt for p in parts for prompt in p.prompts],
        [text for p in parts for text in p.texts],
    )
