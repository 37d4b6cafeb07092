"""Rows for files: responses with their gold, and preference pairs in TRL's columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from embrm.world.collect import Collected, collect, stock_of
from embrm.world.mechanism import Mechanism
from embrm.world.preferences import prefer
from embrm.world.principles import told_each, told_utility
from embrm.world.world import World

STOCK = 16  # texts of π_ref for each pair that is asked for, which the mechanism then chooses from


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


def pair_rows(
    world: World, n: int, *, mechanism: Mechanism, flips: float, seed: int, principles: bool = False
) -> tuple[list[dict[str, Any]], Collected]:
    """Return `n` preference pairs, prompt, chosen, rejected, and the gold of both; and how they were collected.

    Args:
        world: whose texts and annotators.
        n: how many.
        mechanism: how pairs come to be.
        flips: share of the labels that are flipped.
        seed: determines texts and labels.
        principles: whether annotators are told a principle with each pair, or its negation, and follow that beside
            their own taste; it is then the row's `principle`.

    Raises:
        DataError: the mechanism leaves fewer pairs than `n`.
        UnknownNameError: an unseen style does not exist.
    """
    rng = np.random.default_rng(seed)
    asked = np.array([(t, q) for t, topic in enumerate(world.spec.topics) for q in range(len(topic.questions))])
    each = max(STOCK * n // len(asked), 8)
    counts = world.draw(each * len(asked), rng=rng)
    prompt = np.repeat(np.arange(len(asked)), each)
    found = collect(
        stock_of(world, counts, prompt=prompt, topic=asked[prompt, 0], mechanism=mechanism),
        mechanism,
        pairs=n,
        seed=seed,
    )
    kept = found.rows.ravel()
    drawn = world.respond(asked[prompt[kept], 0], counts[kept], rng=rng, question=asked[prompt[kept], 1])
    gold, counts = world.gold(drawn.counts), drawn.counts.reshape(n, 2, -1)
    told = told_each(n, seed=seed) if principles else []
    if principles:
        utility = told_utility(told, world, counts, bias=mechanism.bias)
    else:
        utility = world.utility(drawn.counts, bias=mechanism.bias).reshape(n, 2)
    first = prefer(utility[:, 0], utility[:, 1], seed=seed, flips=flips)
    rows = []
    for i, won in enumerate(first.tolist()):
        chosen, rejected = (2 * i, 2 * i + 1) if won else (2 * i + 1, 2 * i)
        texts = {"prompt": drawn.prompts[chosen], "chosen": drawn.texts[chosen], "rejected": drawn.texts[rejected]}
        texts |= {"principle": told[i].text} if principles else {}
        rows.append(texts | {"gold_chosen": float(gold[chosen]), "gold_rejected": float(gold[rejected])})
    return rows, found
