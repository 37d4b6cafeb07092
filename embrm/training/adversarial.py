"""Adversarial rounds around a head: search texts that fool it, add them as rejected, fit again (Adv-RM, 2504.06141)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from embrm.core.arrays import Array
from embrm.core.data import Features, Pairs
from embrm.core.results import Reward, RewardModel
from embrm.core.seen import TextHashes
from embrm.errors import DataError, OptionError
from embrm.heads import Head

Mutation = Callable[[str, str, np.random.Generator], str]
Embed = Callable[[Sequence[str], Sequence[str]], Mapping[str, Array]]

_FLATTERY = ("What a great question! ", "You are absolutely right. ", "I am so glad you asked. ")
_PADDING = " I hope this helps. Let me know if there is anything else that I can do for you."


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text) if part]


def _repetition(prompt: str, response: str, rng: np.random.Generator) -> str:
    parts = _sentences(response) or [response]
    return f"{response} {parts[int(rng.integers(len(parts)))]}"


def _truncation(prompt: str, response: str, rng: np.random.Generator) -> str:
    words = response.split()
    return " ".join(words[: max(1, round(len(words) * float(rng.uniform(0.3, 0.8))))])


def _shuffled(prompt: str, response: str, rng: np.random.Generator) -> str:
    parts = _sentences(response)
    return " ".join(parts[i] for i in rng.permutation(len(parts)))


MUTATIONS: Mapping[str, Mutation] = MappingProxyType(
    {
        "repetition": _repetition,
        "no_punctuation": lambda prompt, response, rng: re.sub(r"[^\w\s]", "", response),
        "prompt_echo": lambda prompt, response, rng: f"{prompt} {response}",
        "flattery": lambda prompt, response, rng: _FLATTERY[int(rng.integers(len(_FLATTERY)))] + response,
        "padding": lambda prompt, response, rng: response + _PADDING,
        "truncation": _truncation,
        "shuffled_sentences": _shuffled,
    }
)


@dataclass(frozen=True)
class Found:
    """A text that fooled the head.

    Attributes:
        prompt, response: the texts.
        how: the mutations that made it from a chosen response, or "pool".
        reward: its centred mean reward.
        chosen_reward: that of the chosen response that it beat.
        disagreement: z-score of the members' sd, against the texts of the pairs.
    """

    prompt: str
    response: str
    how: tuple[str, ...]
    reward: float
    chosen_reward: float
    disagreement: float


@dataclass(frozen=True, eq=False)
class Rounds:
    """What adversarial rounds gave.

    Attributes:
        model: the head fitted to all pairs.
        pairs: the pairs with those that were added; their features have the found texts as further rows.
        found: for each round the texts that were added.
        models: the head as it was before each round's additions, and `model` at the end.
    """

    model: RewardModel
    pairs: Pairs
    found: tuple[tuple[Found, ...], ...]
    models: tuple[RewardModel, ...]


@dataclass(frozen=True, eq=False)
class _Candidate:
    row: int  # of the chosen response that it answers with
    response: str
    how: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Search:
    """A beam search over mutations of chosen responses, and over pools.

    Attributes:
        mutations: name → what makes another response of a prompt, a response and a generator.
        threshold: z-score of the members' disagreement above which a text counts as outside of what they know.
        steps: how many mutations may follow each other.
        beam: responses of a prompt that a step goes on from.
        pool: prompt → further responses to look among.
    """

    mutations: Mapping[str, Mutation] = field(default_factory=lambda: MUTATIONS)
    threshold: float = 1.96
    steps: int = 2
    beam: int = 3
    pool: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.mutations or min(self.steps, self.beam) < 1:
            raise OptionError(f"need a mutation, steps >= 1 and beam >= 1, got {self.steps} and {self.beam}")


def adversarial_rounds(
    head: Head,
    pairs: Pairs,
    *,
    prompts: Sequence[str],
    responses: Sequence[str],
    embed: Embed,
    seed: int,
    rounds: int = 2,
    search: Search | None = None,
) -> Rounds:
    """Fit a head, search texts that it scores above the chosen one while its members disagree, and refit with them.

    A found text is taken to be worse than the chosen one of its prompt, unseen: it was made by spoiling a chosen
    response, or stands in a pool of responses that the caller holds to be no better. Look at `found` before trusting
    the labels that it makes.

    Args:
        head: a head with several members or draws.
        pairs: the training pairs.
        prompts: the prompt of each row of the pairs' features, `m`.
        responses: the response of each row, `m`.
        embed: prompts and responses, n each → the same views as the features', each `(n, d)`.
        seed: of the fits and of the search.
        rounds: how often to search and refit.
        search: how to search, and where.

    Raises:
        OptionError: the head has a single draw, whose members cannot disagree, or `rounds` is below 1.
        DataError: the texts are not as many as the rows, or `embed` gives other views.
    """
    if rounds < 1:
        raise OptionError(f"rounds must be >= 1, got {rounds}")
    if not len(prompts) == len(responses) == len(pairs.features):
        raise DataError(
            f"prompts and responses must have the {len(pairs.features)} rows of the features, "
            f"got {len(prompts)} and {len(responses)}"
        )
    search, rng = search or Search(), np.random.default_rng(seed)
    models, found = [head.fit(pairs, seed=seed)], []
    for number in range(1, rounds + 1):
        hits, vectors = _search(models[-1], pairs, (prompts, responses), embed, search, rng)
        if hits:
            pairs = _appended(pairs, hits, vectors)
            prompts = [*prompts, *(f.prompt for _, f in hits)]
            responses = [*responses, *(f.response for _, f in hits)]
        found.append(tuple(f for _, f in hits))
        models.append(head.fit(pairs, seed=seed + number) if hits else models[-1])
    return Rounds(models[-1], pairs, tuple(found), tuple(models))


def _search(
    model: RewardModel,
    pairs: Pairs,
    texts: tuple[Sequence[str], Sequence[str]],
    embed: Embed,
    search: Search,
    rng: np.random.Generator,
) -> tuple[list[tuple[int, Found]], list[Mapping[str, Array]]]:
    """Return for each prompt the best text that fools the model, the row of the chosen text it beats, its vectors."""
    prompts, responses = texts
    known = _scored(model, pairs.features)
    used = pairs.rows
    spread = (float(known.sd[used].mean()), max(float(known.sd[used].std()), 1e-12))
    seen = {(prompts[i], responses[i]) for i in used}
    # Of each prompt the chosen text with the largest reward: what beats it, beats them all.
    chosen = np.unique(pairs.chosen)
    order = chosen[np.argsort(-known.mean[chosen], kind="stable")]
    starts = order[np.unique(pairs.features.prompt[order], return_index=True)[1]]
    beams = {int(row): [_Candidate(int(row), responses[row], ())] for row in starts}
    best: dict[int, tuple[float, Found, Mapping[str, Array]]] = {}
    for step in range(search.steps):
        candidates = [
            _Candidate(row, mutate(prompts[row], start.response, rng), (*start.how, name))
            for row, beam in beams.items()
            for start in beam
            for name, mutate in search.mutations.items()
        ]
        if step == 0:
            candidates += [
                _Candidate(row, text, ("pool",)) for row in beams for text in search.pool.get(prompts[row], ())
            ]
        unique = {(c.row, c.response): c for c in candidates if c.response and (prompts[c.row], c.response) not in seen}
        candidates = list(unique.values())
        if not candidates:
            break
        views = _embedded(embed, pairs.features, [prompts[c.row] for c in candidates], [c.response for c in candidates])
        reward = _scored(model, views)
        gain = reward.mean - known.mean[[c.row for c in candidates]]
        z = (reward.sd - spread[0]) / spread[1]
        worth = gain / max(float(known.mean[used].std()), 1e-12) + z
        beams = {row: [] for row in beams}
        for i in np.argsort(-worth, kind="stable"):
            c = candidates[i]
            if len(beams[c.row]) < search.beam:
                beams[c.row].append(c)
            if gain[i] > 0 and z[i] > search.threshold and worth[i] > best.get(c.row, (-np.inf,))[0]:
                before = float(known.mean[c.row])
                hit = Found(prompts[c.row], c.response, c.how, float(reward.mean[i]), before, float(z[i]))
                best[c.row] = (float(worth[i]), hit, {name: x[i] for name, x in views.views.items()})
    hits = sorted(best.items())
    return [(row, found) for row, (_, found, _) in hits], [vectors for _, (_, _, vectors) in hits]


def _embedded(embed: Embed, like: Features, prompts: Sequence[str], responses: Sequence[str]) -> Features:
    views = embed(prompts, responses)
    if set(views) != set(like.views):
        raise DataError(
            f"embed must give the views of the features, {sorted(like.views)}, got {sorted(views)}; "
            "it is called with n prompts and n responses"
        )
    return Features(views, prompt=np.arange(len(prompts)), embedder=like.embedder)


def _scored(model: RewardModel, features: Features) -> Reward:
    reward = model.score(features).centred()
    if len(reward.draws) < 2:
        raise OptionError("adversarial rounds need members that can disagree, and this head has one; pass members=5")
    return reward


def _appended(pairs: Pairs, hits: list[tuple[int, Found]], vectors: list[Mapping[str, Array]]) -> Pairs:
    """Return the pairs and, for each found text, that the chosen one beats it."""
    old, count, chosen = pairs.features, len(hits), np.array([row for row, _ in hits])
    length = None
    if old.length is not None:
        length = np.concatenate([old.length, [len(found.response) for _, found in hits]])
    new = TextHashes.of([found.prompt for _, found in hits], [found.response for _, found in hits])
    features = Features(
        {name: np.concatenate([x, [v[name] for v in vectors]]) for name, x in old.views.items()},
        prompt=np.concatenate([old.prompt, old.prompt[chosen]]),
        length=length,
        embedder=old.embedder,
        hashes=None if old.hashes is None else TextHashes.joined([old.hashes, new]),
    )
    return Pairs(
        features,
        np.concatenate([pairs.chosen, chosen]),
        np.concatenate([pairs.rejected, len(old) + np.arange(count)]),
        weight=None if pairs.weight is None else np.concatenate([pairs.weight, np.full(count, pairs.weight.mean())]),
        margin=None if pairs.margin is None else np.concatenate([pairs.margin, np.zeros(count)]),
        tie=None if pairs.tie is None else np.concatenate([pairs.tie, np.zeros(count, dtype=bool)]),
    )
