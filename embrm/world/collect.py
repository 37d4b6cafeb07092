"""Which texts training pairs are made of: what was collected of each prompt, and who is compared with whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.errors import DataError
from embrm.world.mechanism import Mechanism
from embrm.world.world import World


@dataclass(frozen=True, eq=False)
class Collected:
    """Pairs of texts as a mechanism lets them be collected, not labelled yet.

    Attributes:
        rows: `(n, 2)` rows of the texts; both answer the same prompt, and no pair occurs twice.
        available: how many different pairs there were to draw from.
        correlation: Pearson's, of quality and style over the texts of the pairs, each text once.
        seen_share: share of the texts that the pairs could have been about, before confounding: of covered topics,
            and without the unseen styles.
    """

    rows: IntArray
    available: int
    correlation: float
    seen_share: float


@dataclass(frozen=True, eq=False)
class Stock:
    """Texts that could be collected.

    Attributes:
        prompt: `(n,)` which prompt each answers.
        topic: `(n,)` what coverage is a share of: topics, or the prompts themselves.
        quality: `(n,)` in standard deviations.
        style: `(n,)` in standard deviations.
        barred: `(n,)` True where a text has a style that was not seen.
    """

    prompt: IntArray
    topic: IntArray
    quality: Array
    style: Array
    barred: BoolArray

    def seen(self, mechanism: Mechanism, *, rng: np.random.Generator) -> BoolArray:
        """Return `(n,)` True for texts of covered topics, drawn at random, without the unseen styles.

        Raises:
            DataError: the coverage leaves no topic, or no text is without the unseen styles.
        """
        topics = np.unique(self.topic)
        number = round(mechanism.coverage * len(topics))
        if number == 0:
            raise DataError(
                f"a coverage of {mechanism.coverage} leaves none of {len(topics)} topics; "
                f"give at least {1 / len(topics):.3g}"
            )
        seen = np.isin(self.topic, rng.permutation(topics)[:number]) & ~self.barred
        if not seen.any():
            raise DataError(
                f"no training text is without any use of {', '.join(mechanism.unseen)}; leave some of them out"
            )
        return np.asarray(seen)

    def kept(self, mechanism: Mechanism, seen: BoolArray, *, rng: np.random.Generator) -> BoolArray:
        """Return `(n,)` True for the texts that are collected: those that are seen less what confounding leaves out."""
        chance = np.exp(mechanism.confounding * (np.tanh(self.quality) * np.tanh(self.style) - 1))
        return np.asarray(seen & (rng.random(len(chance)) < chance))


def stock_of(world: World, counts: IntArray, *, prompt: IntArray, topic: IntArray, mechanism: Mechanism) -> Stock:
    """Return texts of the world with the given counts `(n, a)` as what could be collected.

    Raises:
        UnknownNameError: a style that the mechanism leaves unseen does not exist.
    """
    barred = world.uses(counts, mechanism.unseen)
    return Stock(prompt, topic, world.quality(counts), world.style(counts), barred)


def collect(stock: Stock, mechanism: Mechanism, *, pairs: int, seed: int) -> Collected:
    """Return `pairs` pairs of texts, as the mechanism lets them be collected.

    Texts are kept with the probability exp(c · (tanh quality · tanh style − 1)), independently, so that good texts
    with style and poor ones without are over-represented, by up to e^2c against their opposites. Pairs are formed among
    the kept texts of each prompt: first all texts once, then again with other partners, as in the rounds of a
    tournament, so that few texts serve often.

    Args:
        stock: what there is.
        mechanism: its confounding, coverage and unseen styles; `bias` concerns the labels.
        pairs: how many.
        seed: determines which topics are covered, which texts are kept and who meets whom.

    Raises:
        DataError: the coverage leaves none, or there are fewer pairs than asked for.
    """
    rng = np.random.default_rng([seed, 7])
    seen = stock.seen(mechanism, rng=rng)
    kept = np.flatnonzero(stock.kept(mechanism, seen, rng=rng))
    kept = rng.permutation(kept)
    groups = np.split(kept[np.argsort(stock.prompt[kept], kind="stable")], _bounds(np.sort(stock.prompt[kept])))
    available = sum(len(g) * (len(g) - 1) // 2 for g in groups)
    if available < pairs:
        raise DataError(
            f"asked for {pairs} pairs, but {len(kept)} texts of {len(groups)} prompts make only {available} under "
            f"{mechanism}; ask for fewer, or for less confounding or more coverage"
        )
    rows = _tournament(groups, pairs, rng)
    used = np.unique(rows)
    return Collected(rows, available, correlation(stock.quality[used], stock.style[used]), float(seen.mean()))


def _bounds(prompt: IntArray) -> IntArray:
    return np.flatnonzero(np.diff(prompt)) + 1


def _tournament(groups: Sequence[IntArray], pairs: int, rng: np.random.Generator) -> IntArray:
    """Return `pairs` pairs `(n, 2)`, round after round, in random order within each round, no pair twice."""
    out: list[IntArray] = []
    found, number = 0, 0
    while found < pairs:
        met = np.concatenate([_round(group, number) for group in groups])
        out.append(met[rng.permutation(len(met))])
        found, number = found + len(met), number + 1
    return np.concatenate(out)[:pairs]


def _round(group: IntArray, number: int) -> IntArray:
    """Return who meets whom `(k, 2)` in one round: by the circle method all meet once in as many rounds as needed."""
    seats = np.arange(len(group) + len(group) % 2)  # of an odd number one rests, beside an empty seat
    if number >= len(seats) - 1:
        return np.empty((0, 2), dtype=np.int64)
    seats = np.concatenate([seats[:1], np.roll(seats[1:], number)])
    half = len(seats) // 2
    met = np.stack([seats[:half], seats[half:][::-1]], axis=1)
    return np.asarray(group[met[(met < len(group)).all(axis=1)]])


def correlation(a: Array, b: Array) -> float:
    """Return the correlation of two quantities `(n,)`, 0 where one of them does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0
