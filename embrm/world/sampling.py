"""Rows for files: responses with their gold, and preference pairs in TRL's columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from embrm.world.preferences import prefer
from embrm.world.world import World


def response_rows(world: World, n: int, *, seed: int) -> list[dict[str, Any]]:
    """Return `n` responses of π_ref: topic, prompt, response, gold, and the counts of the attributes it has."""
    drawn = world.sample(n, seed=seed)
    return [
        {
            "topic": world.topics[topic],
            "prompt": prompt,
            "response": text,
            "gold": float(gold),
            "counts": {name: int(c) for name, c in zip(world.attributes, counts, strict=True) if c},
        }
        for topic, prompt, text, gold, counts in zip(
            drawn.topic, drawn.prompts, drawn.texts, world.gold(drawn.counts), drawn.counts, strict=True
        )
    ]


def pair_rows(world: World, n: int, *, bias: float, flips: float, seed: int) -> list[dict[str, Any]]:
    """Return `n` preference pairs: prompt, chosen, rejected, and the gold of both."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(len(world.topics), size=n)
    question = [int(rng.integers(len(world.spec.topics[t].questions))) for t in topic]
    counts = world.draw(2 * n, rng=rng)
    drawn = world.respond(np.repeat(topic, 2), counts, rng=rng, question=np.repeat(question, 2))
    utility, gold = world.utility(counts, bias=bias), world.gold(counts)
    first = prefer(utility[::2], utility[1::2], seed=seed, flips=flips)
    rows = []
    for i, won in enumerate(first.tolist()):
        chosen, rejected = (2 * i, 2 * i + 1) if won else (2 * i + 1, 2 * i)
        texts = {"prompt": drawn.prompts[chosen], "chosen": drawn.texts[chosen], "rejected": drawn.texts[rejected]}
        rows.append(texts | {"gold_chosen": float(gold[chosen]), "gold_rejected": float(gold[rejected])})
    return rows
