"""A reward model at work in the world: as the reward of a run, and along the path of its optima."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embrm.bestofn.tilt import TiltPath
from embrm.core.arrays import Array, IntArray
from embrm.core.results import RewardModel
from embrm.data.encode import encode
from embrm.embedders import Embedder
from embrm.errors import DataError
from embrm.policies.pool import ProposalPool
from embrm.policies.training import TextFunction
from embrm.world.penalty import LatentPenalty
from embrm.world.world_sample import WorldSample


def rewarded_by(model: RewardModel, embedder: Embedder) -> TextFunction:
    """Return `(prompts, texts) -> (n,)`: the model's mean reward, zero on its training texts on average."""
    embedder = embedder.fleeting

    def reward(prompts: Sequence[str], texts: Sequence[str]) -> Array:
        return model.score(encode(prompts, texts, embedder=embedder, views=model.widths).features).centred().mean

    return reward


def latents_of(model: RewardModel, embedder: Embedder) -> TextFunction:
    """Return `(prompts, texts) -> (n, k)`: the latents of the model's first member."""
    embedder = embedder.fleeting

    def latent(prompts: Sequence[str], texts: Sequence[str]) -> Array:
        return model.latent(encode(prompts, texts, embedder=embedder, views=model.widths).features)

    return latent


def scored_pool(
    model: RewardModel,
    data: WorldSample,
    *,
    embedder: Embedder | None = None,
    refine: int = 0,
    rounds: int = 1,
    penalty: LatentPenalty | None = None,
    seed: int = 0,
) -> ProposalPool:
    """Return the stratified pools scored by the model, with more texts towards its reward where that is asked for.

    Args:
        model: the proxy.
        data: a sample of the world with the vectors of the model's embedder.
        embedder: embeds the additional texts; only needed to refine.
        refine: additional texts for each prompt and round; 0 means off.
        rounds: how often the pool is extended, each time where it was unreliable.
        penalty: subtracted from the model's reward, which is then the pool's proxy.
        seed: determines the additional texts.

    Raises:
        DataError: refining was asked for without an embedder.
    """
    proxy = model.score(data.proposals().features).centred().mean
    pool = data.proposal_pool(proxy if penalty is None else proxy - penalty.on_proposals(data))
    if not refine:
        return pool
    if embedder is None:
        raise DataError("refining the pool embeds new texts; give the model's embedder")
    reward, world, asked = rewarded_by(model, embedder), data.world, data.layout.prompts
    if penalty is not None:
        reward = penalty.from_reward(reward, embedder)

    def answer(counts: IntArray, rng: np.random.Generator) -> tuple[Array, Array]:
        flat = counts.reshape(-1, counts.shape[2])
        topic, wording = np.repeat(asked, counts.shape[1], axis=0).T
        written = world.respond(topic, flat, rng=rng, question=wording)
        proxy = np.asarray(reward(written.prompts, written.texts)).reshape(counts.shape[:2])
        return proxy, world.gold(flat).reshape(counts.shape[:2])

    for i in range(rounds):
        pool = pool.refine(answer, size=refine, seed=seed + i)
    return pool


def path_rows(path: TiltPath) -> list[dict[str, float | bool]]:
    """Return a path as rows: means over prompts of KL, proxy and gold; summed ESS, bias, whether to believe them."""
    return [
        {
            "kl": float(path.kl[i].mean()),
            "proxy": float(path.proxy[i].mean()),
            "gold": float(path.gold[i].mean()),
            "ess": float(path.ess[i].sum()),
            "bias": float(path.bias[i]),
            "reliable": bool(path.reliable[i]),
        }
        for i in range(len(path.inverse_beta))
    ]
