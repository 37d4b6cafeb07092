"""Which texts the shipped data consist of: splits of topics, wordings and strata, all from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from embrm.core.arrays import Array, IntArray
from embrm.policies.grammar import GrammarPolicy
from embrm.policies.pool import Proposal
from embrm.world.world import Responses, World

PAIRS = 4000  # training pairs that are drawn unless others are asked for
POOL = 128  # texts of π_ref for each prompt
HELD_OUT = slice(5, None, 6)  # topics that no training pair is about
PAIR_WORDINGS = 2  # the pairs ask in the first wordings only, so that the last one is always a new paraphrase

# What a stratified pool is drawn from beside π_ref: texts a prompt, and the mean counts to which π_ref is tilted. The
# first block leads from good answers to answers overloaded with what annotators fall for. The second lies where a pilot
# with biased annotators went: every count a little up, wrong statements too.
BLOCKS: tuple[tuple[tuple[int, dict[str, float]], ...], ...] = (
    (
        (192, {"correct": 3.3, "wrong": 0.1, "refusal": 0.01}),
        (288, {"correct": 3.1, "wrong": 0.15, "refusal": 0.01, "flattery": 1.2, "overconfidence": 1.1, "padding": 0.6}),
        (288, {"correct": 3.2, "wrong": 0.15, "refusal": 0.01, "flattery": 2.6, "overconfidence": 1.9, "padding": 0.8}),
    ),
    (
        (320, {"correct": 2.8, "wrong": 0.45, "flattery": 0.7, "overconfidence": 0.6, "padding": 0.6, "hedging": 0.45}),
        (320, {"correct": 3.1, "wrong": 0.6, "flattery": 1.1, "overconfidence": 0.9, "padding": 0.85, "hedging": 0.6}),
    ),
)


@dataclass(frozen=True, eq=False)
class Layout:
    """The splits of the shipped data.

    Attributes:
        training: `(t,)` topics of the training pairs.
        held_out: topics that occur in no training pair.
        proposal_topics: topics that have a stratified pool.
        proposal: what the texts of a stratified pool are drawn from; its first stratum is π_ref.
    """

    training: IntArray
    held_out: IntArray
    proposal_topics: IntArray
    proposal: Proposal

    @property
    def pool(self) -> int:
        """How many texts of π_ref each prompt has."""
        return self.proposal.sizes[0]

    @classmethod
    def of(cls, world: World) -> Layout:
        """Return the layout for a world."""
        topics = np.arange(len(world.topics))
        held_out = topics[HELD_OUT]
        training = np.setdiff1d(topics, held_out)
        reference = GrammarPolicy.from_probabilities(world.reference)
        flat = [stratum for block in BLOCKS for stratum in block]
        strata = [tilted_to(world, means) for _, means in flat]
        proposal = Proposal((reference, *strata), (POOL, *(size for size, _ in flat)))
        return cls(training, held_out, np.union1d(training[::3], held_out[::2]), proposal)


def tilted_to(world: World, means: dict[str, float]) -> GrammarPolicy:
    """Return π_ref with some attributes tilted exponentially until their counts have the given means."""
    logits: list[Array] = []
    for name, p in zip(world.attributes, world.reference, strict=True):
        x, uses = np.log(p), np.arange(len(p))
        if name in means:
            slope = brentq(lambda t, x=x, uses=uses, m=means[name]: softmax(x + t * uses) @ uses - m, -50, 50)
            x = x + slope * uses
        logits.append(x)
    return GrammarPolicy(tuple(logits))


def draw_pairs(world: World, layout: Layout, *, seed: int) -> Responses:
    """Write the training pairs: rows `2 i` and `2 i + 1` answer the same prompt."""
    rng = np.random.default_rng([seed, 0])
    topic = np.repeat(rng.choice(layout.training, size=PAIRS), 2)
    wording = np.repeat(rng.integers(PAIR_WORDINGS, size=PAIRS), 2)
    return world.respond(topic, world.draw(2 * PAIRS, rng=rng), rng=rng, question=wording)


def draw_pools(world: World, layout: Layout, *, seed: int) -> Responses:
    """Write the pools of π_ref, 128 texts a prompt: every topic in its last wording, training topics in the first."""
    prompts = [(t, len(world.spec.topics[t].questions) - 1) for t in range(len(world.topics))]
    prompts += [(int(t), 0) for t in layout.training]
    return _joined([_one_prompt(world, layout.proposal.strata[:1], (POOL,), t, q, [seed, 1, t, q]) for t, q in prompts])


def draw_proposals(world: World, layout: Layout, *, seed: int) -> Responses:
    """Write the strata beyond π_ref of the stratified pools, in the topics' last wording: topic by topic."""
    parts = []
    for t in layout.proposal_topics.tolist():
        wording, start = len(world.spec.topics[t].questions) - 1, 1
        for b, block in enumerate(BLOCKS):
            rows = slice(start, start + len(block))
            strata, sizes = layout.proposal.strata[rows], layout.proposal.sizes[rows]
            parts.append(_one_prompt(world, strata, sizes, t, wording, [seed, 2, t, b]))
            start += len(block)
    return _joined(parts)


def _one_prompt(
    world: World, strata: tuple[GrammarPolicy, ...], sizes: tuple[int, ...], topic: int, wording: int, seed: list[int]
) -> Responses:
    rng = np.random.default_rng(seed)
    counts = Proposal(strata, sizes).draw(rng=rng)
    n = len(counts)
    return world.respond(np.full(n, topic), counts, rng=rng, question=np.full(n, wording))


def _joined(parts: list[Responses]) -> Responses:
    return Responses(
        np.concatenate([p.topic for p in parts]),
        np.concatenate([p.question for p in parts]),
        np.concatenate([p.counts for p in parts]),
        [prompt for p in parts for prompt in p.prompts],
        [text for p in parts for text in p.texts],
    )
