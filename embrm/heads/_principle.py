"""Rewards that read a principle: which ones they were trained under, and what is left to read under one of them."""

from __future__ import annotations

import warnings

import numpy as np

from embrm.core.arrays import Array
from embrm.core.data import Problem
from embrm.core.views import LENGTH, PRINCIPLE, parts, under_principle

SAVED = "principles"  # name of the array in a saved model
MOST = 256  # principles that a model remembers: the most frequent


class PrincipleWarning(UserWarning):
    """A principle is unlike all those of the training rows, so that the reward under it is a guess."""


def principles_in(problem: Problem) -> Array | None:
    """Return the distinct principles' vectors `(k, d)` of a problem's training texts, the most frequent ones first.

    None where its features have none.
    """
    features = problem.pairs.features
    if PRINCIPLE not in features.views:
        return None
    found, count = np.unique(features.rows(PRINCIPLE)[problem.pairs.rows], axis=0, return_counts=True)
    return np.asarray(found[np.argsort(-count, kind="stable")[:MOST]])


def familiarity(principle: Array, known: Array) -> tuple[float, float]:
    """Return the cosine of a principle to the nearest known one, and the least that a known one has to another.

    >>> familiarity(np.array([1.0, 1.0]), np.eye(2))
    (0.7071067811865475, 0.0)
    """
    unit = known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-12)
    own = float((unit @ principle).max() / max(float(np.linalg.norm(principle)), 1e-12))
    others = unit @ unit.T
    np.fill_diagonal(others, -np.inf)
    return own, float(others.max(axis=1).min()) if len(known) > 1 else 1.0


def warn_unfamiliar(principle: Array, known: Array) -> dict[str, float]:
    """Return what `familiarity` says, for the record, and warn where the principle is unlike all known ones."""
    cosine, least = familiarity(principle.astype(np.float64), known.astype(np.float64))
    if cosine < least - 1e-6:
        warnings.warn(
            f"the principle is unlike all {len(known)} of the training rows: its cosine to the nearest is "
            f"{cosine:.2f}, and of these each has {least:.2f} or more to another; what the reward makes of it is a "
            "guess, so word it more like them, or train on rows that have it",
            PrincipleWarning,
            stacklevel=4,
        )
    return {"cosine": cosine, "least": least}


def folded(view: str, weight: Array, principle: Array) -> tuple[str, Array, Array]:
    """Return what a layer that reads a principle is under one of them: its view, its weights, and what is added.

    Args:
        view: that the layer reads, a principle in it.
        weight: `(members, columns, h)` of its columns.
        principle: `(d,)`.

    Returns:
        The view without the principle, weights `(members, columns of that, h)`, and a constant `(members, h)`.
    """
    found = under_principle(view)
    assert found is not None
    rest, crossed = found
    d, start, starts = len(principle), 0, {}
    for name in parts(rest):
        starts[name] = start
        start += 1 if name == LENGTH else d
    left = weight[:, :start].copy()
    own, *products = np.split(weight[:, start:], 1 + len(crossed), axis=1)
    for name, product in zip(crossed, products, strict=True):
        left[:, starts[name] : starts[name] + d] += principle[:, None] * product
    return rest, left, np.einsum("d,mdh->mh", principle, own)
