"""Preference pairs whose reward is known, for the tests."""

from __future__ import annotations

import numpy as np

from embrm import Features, Pairs


def planted(
    seed: int = 0, *, prompts: int = 40, responses: int = 8, width: int = 12, pairs: int = 600, flips: float = 0.0
) -> tuple[Pairs, np.ndarray]:
    """Return pairs labelled by a random linear reward with Bradley–Terry noise, and that reward of every row."""
    rng = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(prompts), responses)
    x = rng.normal(size=(len(prompt), width)) + 0.5 * rng.normal(size=(prompts, width))[prompt]
    reward = x @ rng.normal(size=width)
    p = rng.integers(prompts, size=pairs)
    i = rng.integers(responses, size=pairs)
    j = (i + rng.integers(1, responses, size=pairs)) % responses
    a, b = p * responses + i, p * responses + j
    wins = rng.random(pairs) < 1 / (1 + np.exp(reward[b] - reward[a]))
    wins ^= rng.random(pairs) < flips
    length = (
        np.random.default_rng([seed, 1]).integers(20, 400, size=len(prompt)).astype(float)
    )  # says nothing of the reward
    features = Features({"joint": x}, prompt=prompt, length=length)
    return Pairs(features, np.where(wins, a, b), np.where(wins, b, a)), reward
