"""A sample of the world made on the spot, with texts where rewards lead: for an embedder that is quick enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embrm import heads
from embrm.core.arrays import Array
from embrm.core.data import Features, Problem
from embrm.core.results import RewardModel
from embrm.embedders import Embedder, provenance_of
from embrm.errors import OptionError
from embrm.policies.grammar import GrammarPolicy
from embrm.world.layout import POOL, STOCK, STRATA, Layout, draw_stratum, draw_training, joined_responses
from embrm.world.mechanism import Mechanism
from embrm.world.shipped import joint_texts
from embrm.world.world import Responses, World
from embrm.world.world_sample import WorldSample

# Rewards that the texts are to follow: what linear heads learn from pairs of each mechanism, with a share of flips.
PILOTS = (
    (Mechanism(), 0.0),
    (Mechanism(bias=1.0), 0.0),
    (Mechanism(confounding=2.0), 0.0),
    (Mechanism(confounding=2.0), 0.25),
)


@dataclass(frozen=True)
class FreshSize:
    """How large a sample is.

    Attributes:
        topics: how many, the first ones; None means all. Each is asked in one wording for training, in the others to
            choose for.
        stock: texts of π_ref of each training prompt.
        pool: texts of π_ref of each prompt to choose for.
        stratum: texts that each prompt gets in one refinement.
        reach: nats to which the paths of the pilots are to be reliable.
        refinements: at most so many for each pilot.
    """

    topics: int | None = None
    stock: int = STOCK
    pool: int = POOL
    stratum: int = 32
    reach: float = 4.0
    refinements: int = 4

    def __post_init__(self) -> None:
        least = {"stock": 2, "pool": 2, "stratum": 1, "reach": 0, "refinements": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise OptionError(f"{name} of a fresh sample must be >= {bound}, got {getattr(self, name)}")
        if self.topics is not None and self.topics < 6:
            raise OptionError(f"topics of a fresh sample must be >= 6, of which one is held out, got {self.topics}")


@dataclass(frozen=True, eq=False)
class Fresh(WorldSample):
    """A sample that was made on the spot; see `WorldSample` and `draw_sample`.

    Attributes:
        written: the texts of each split.
        embedded: the features of each split.
    """

    written: Mapping[str, Responses]
    embedded: Mapping[str, Features]

    @property
    def responses(self) -> Mapping[str, Responses]:
        """The texts of each split."""
        return self.written

    @property
    def features(self) -> Mapping[str, Features]:
        """The features of each split."""
        return self.embedded


def draw_sample(world: World, embedder: Embedder, *, seed: int, size: FreshSize | None = None) -> Fresh:
    """Draw training texts and pools, and refine the pools until the paths of pilot rewards are reliable far enough.

    The pilots are linear heads on pairs of fair annotators, of biased ones and of confounded texts. Where the path of
    one is not reliable to `reach`, each prompt gets a stratum of texts more, drawn where that reward leads
    (`ProposalPool.lead`; its probabilities are rounded, so that the texts do not depend on the last digits of a fit).
    All heads of a study are then followed on the same texts. From the start there is the shipped data's stratum of
    overloaded texts, for the test split "counts". Known vectors come from the embedder's cache.

    Args:
        world: topics, gold and annotators.
        embedder: embeds each text with its prompt; thousands of texts a second are needed for this to be quick.
        seed: determines all texts.
        size: how many; None means as many as are shipped.

    Raises:
        DataError: the world is too small for training pairs and prompts of other wordings.
        OptionError: more topics are asked for than the world has.
        MissingExtraError: the embedder is not installed.
    """
    size = size or FreshSize()
    stock = draw_stock(world, seed=seed, size=size)
    world, layout = stock.world, stock.layout
    pools = _Pools(world, embedder, seed)
    for number in range(len(layout.proposal.sizes)):
        pools.add(layout, number)
    written = stock.responses["training"]
    texts = stock.with_vectors(written, _embedded(embedder, written), provenance_of(embedder))
    sample = pools.beside(stock, texts, layout)
    pilots = _pilots(sample, seed=seed)
    for _ in range(size.refinements):
        leads = [_lead(sample, model, reach=size.reach) for model in pilots]
        found = [policy for policy in leads if policy is not None]
        if not found:
            break
        for policy in found:
            layout = layout.joined(policy, size=size.stratum)
            pools.add(layout, len(layout.proposal.sizes) - 1)
        sample = pools.beside(stock, texts, layout)
    return sample


def draw_stock(world: World, *, seed: int, size: FreshSize) -> Fresh:
    """Return the training texts of `draw_sample` alone, without vectors: all that counting pairs needs.

    Raises:
        DataError: see `draw_sample`.
        OptionError: likewise.
    """
    if size.topics is not None:
        if size.topics > len(world.topics):
            raise OptionError(f"asked for {size.topics} topics, but the world has {len(world.topics)}; ask for fewer")
        world = world.only(range(size.topics))
    layout = Layout.of(world, stock=size.stock, pool=size.pool, strata=STRATA[-1:])
    return Fresh(world, layout, {"training": draw_training(world, layout, seed=seed)}, {})


class _Pools:
    """Texts and vectors of the pools, stratum by stratum."""

    def __init__(self, world: World, embedder: Embedder, seed: int) -> None:
        self.world, self.embedder, self.seed = world, embedder, seed
        self.texts: list[list[Responses]] = []  # stratum, prompt
        self.vectors: list[Array] = []  # (prompts, n, d) of each stratum

    def add(self, layout: Layout, stratum: int) -> None:
        """Write and embed a stratum of the layout for every prompt."""
        written = [draw_stratum(self.world, layout, stratum, p, seed=self.seed) for p in layout.prompts]
        vectors = _embedded(self.embedder, joined_responses(written))
        self.texts.append(written)
        self.vectors.append(vectors.reshape(len(written), -1, vectors.shape[1]))

    def beside(self, stock: Fresh, texts: Features, layout: Layout) -> Fresh:
        """Return the sample of these training texts and of all pools so far, prompt by prompt."""
        written = joined_responses([part for prompt in zip(*self.texts, strict=True) for part in prompt])
        vectors = np.concatenate(self.vectors, axis=1)
        features = stock.with_vectors(written, vectors.reshape(-1, vectors.shape[2]), texts.embedder)
        training = stock.responses["training"]
        return Fresh(
            stock.world, layout, {"training": training, "pools": written}, {"training": texts, "pools": features}
        )


def _embedded(embedder: Embedder, written: Responses) -> Array:
    return embedder.embed(joint_texts(written)).vectors


def _pilots(sample: Fresh, *, seed: int) -> list[RewardModel]:
    stock = sample.responses["training"]
    pairs = min(4000, len(stock) // 8)  # as many as confounded texts allow
    problems = [Problem(sample.preferences(m, flips=f, pairs=pairs, seed=seed), seed=seed) for m, f in PILOTS]
    return list(heads.get("linear")().fit_many(problems))


def _lead(sample: Fresh, model: RewardModel, *, reach: float) -> GrammarPolicy | None:
    """Return where the reward leads, or None where its path is reliable far enough."""
    pool = sample.proposal_pool(model.score(sample.features["pools"]).mean)
    path = pool.path()
    if path.kl[path.end].mean() >= reach:
        return None
    rounded = [
        np.maximum(np.round(p, 3), p_ref / 10)
        for p, p_ref in zip(pool.lead().probabilities, sample.world.reference, strict=True)
    ]
    return GrammarPolicy.from_probabilities(rounded)
