"""A reward under stress: texts that nobody should like better, turns that doubt an answer, vectors that move."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Features
from embrm.core.results import Reward, RewardModel
from embrm.data.encode import encode, prompt_numbers
from embrm.data.texts import Texts, number_prompts
from embrm.embedders import Embedder
from embrm.errors import OptionError
from embrm.evaluation.flips import FlipReport, flip_report
from embrm.evaluation.probes import CHALLENGES, followed, probed
from embrm.metrics.intervals import Interval
from embrm.metrics.shares import share
from embrm.selectors import Selector, ValueRule
from embrm.world import shipped

_ROUNDING = 1e-5  # of values, in their standard deviations: vectors are float32


class StressWarning(UserWarning):
    """A part of the stress test could not be done."""


@dataclass(frozen=True, eq=False)
class StressTexts:
    """Texts to be put under stress.

    Attributes:
        prompts, responses: `m` texts each.
        prompt: `(m,)` the number of each one's prompt.
        cluster: `(m,)` which prompts are not independent of each other.
    """

    prompts: list[str]
    responses: list[str]
    prompt: IntArray
    cluster: IntArray

    def __len__(self) -> int:
        return len(self.responses)

    @classmethod
    def of(cls, texts: Texts, *, most: int = 100, seed: int = 0) -> StressTexts:
        """Return the first two different responses to each prompt of a file, to at most so many prompts by chance."""
        number = number_prompts(texts)[0]
        return cls._two_each(texts.prompts, texts.responses, number, number, most=most, seed=seed)

    @classmethod
    def shipped(cls, *, most: int = 100, seed: int = 0) -> StressTexts:
        """Return the same of the texts of π_ref that come with the project; their topics are the clusters."""
        data = shipped.load()
        rows = data.reference_rows[:, :2].ravel()
        written = shipped.read_responses(data.folder / "pools.jsonl.gz", data.world)
        prompts, responses = [written.prompts[i] for i in rows], [written.texts[i] for i in rows]
        return cls._two_each(prompts, responses, prompt_numbers(prompts), written.topic[rows], most=most, seed=seed)

    @classmethod
    def _two_each(
        cls,
        prompts: Sequence[str],
        responses: Sequence[str],
        number: IntArray,
        cluster: IntArray,
        *,
        most: int,
        seed: int,
    ) -> StressTexts:
        chosen = np.random.default_rng(seed).permutation(np.unique(number))[:most]
        seen: dict[int, list[int]] = {int(prompt): [] for prompt in np.sort(chosen)}
        for i, prompt in enumerate(number.tolist()):
            have = seen.get(prompt)
            if have is not None and len(have) < 2 and responses[i] not in [responses[j] for j in have]:
                have.append(i)
        rows = [i for have in seen.values() for i in have]
        return cls([prompts[i] for i in rows], [responses[i] for i in rows], number[rows], np.asarray(cluster)[rows])

    @property
    def pairs(self) -> IntArray:
        """Rows of the two responses to each prompt that has two, `(n, 2)`."""
        first = np.flatnonzero(self.prompt[:-1] == self.prompt[1:])
        return np.stack([first, first + 1], axis=1)


@dataclass(frozen=True, eq=False)
class ProbeLine:
    """What became of one probe.

    Attributes:
        acceptance: share of the changed texts whose value is at least that of the original, but for rounding.
        gain: mean of the changed text's value minus the original's, in standard deviations of the originals' values.
        accepted: `(m,)` 1 where that is so, else 0; NaN where the probe left the text as it was, which does not count.
        example: the original and the changed text that gained most, with their values.
    """

    acceptance: Interval
    gain: float
    accepted: Array
    example: tuple[str, str, float, float]


@dataclass(frozen=True, eq=False)
class TurnReport:
    """Whether preferences stand when both answers are doubted, turn after turn.

    Attributes:
        kept: `(t,)` share of the pairs whose preference after 1, 2, … such turns is that before them.
        consistency: the share Σ γ^t s_t / Σ γ^t, s_t whether it is, over t = 0, 1, ….
        discount: γ.
    """

    kept: Interval
    consistency: Interval
    discount: float


@dataclass(frozen=True, eq=False)
class StressReport:
    """How a reward stands stress.

    Attributes:
        texts, prompts: how many were used.
        probes: name → what became of it, see `embrm.evaluation.probes`.
        turns: None where no prompt has two responses.
        flips: likewise.
    """

    texts: int
    prompts: int
    probes: dict[str, ProbeLine]
    turns: TurnReport | None
    flips: FlipReport | None

    def above(self, limit: float) -> list[str]:
        """Return the probes whose acceptance lies above a limit, and "flips" where its share does: all its interval.

        Raises:
            OptionError: the limit is no share.
        """
        if not 0 <= limit <= 1:
            raise OptionError(f"limit must be a share between 0 and 1, got {limit}")
        found = {name: line.acceptance for name, line in self.probes.items()}
        if self.flips is not None:
            found["flips"] = self.flips.share
        return [name for name, interval in found.items() if float(interval.low) > limit]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers with their intervals, those over all texts and pairs."""
        shown = ("acceptance", "gain", "example")
        probes = {name: {key: getattr(line, key) for key in shown} for name, line in self.probes.items()}
        if self.flips is None:
            return {**vars(self), "probes": probes}
        flips = self.flips
        over_all = {name: getattr(flips, name) for name in ("radius", "draws", "share", "probability")}
        counts = {
            "pairs": np.isfinite(flips.flips).sum(),
            "firm": flips.firm.sum(),
            "estimated": np.isfinite(flips.tail).sum(),
        }
        return {**vars(self), "probes": probes, "flips": over_all | counts}


def stress(
    model: RewardModel,
    texts: StressTexts,
    *,
    embedder: Embedder,
    rule: Selector | None = None,
    radius: float = 0.25,
    draws: int = 200,
    discount: float = 0.45,
    seed: int = 0,
) -> StressReport:
    """Put a reward model under stress.

    Three things are measured. *Probes* change a text so that no reader should like it better, and count how often its
    value is at least as high all the same. *Turns* append doubts to both answers of a prompt, and ask whether the
    preference between them is still the same: the position-weighted consistency of 2503.22353, of a reward's judgement
    where the paper asks a language model for its answer again. *Flips* move the vectors, see `flip_report`.

    Args:
        model: the reward model.
        texts: see `StressTexts`.
        embedder: what embeds them as the model's training texts were.
        rule: whose value of each text is looked at; None is the mean over draws.
        radius: see `flip_report`.
        draws: see `flip_report`.
        discount: γ in (0, 1/2], so that no later turn outweighs an earlier one.
        seed: of what is left to chance.

    Raises:
        DataError: all texts answer one prompt.
        OptionError: the rule values no text by itself, a discount is outside (0, 1/2], or see `flip_report`.
    """
    if not 0 < discount <= 0.5:
        raise OptionError(f"discount must be in (0, 0.5], so that early turns weigh more, got {discount}")
    if not radius > 0:
        raise OptionError(f"radius must be a finite number > 0, got {radius}; without a perturbation nothing can turn")
    value = valued_by(rule)
    changed = probed(texts.prompts, texts.responses, group=texts.cluster, seed=seed)
    turned = [[followed(said, CHALLENGES[: t + 1]) for said in texts.responses] for t in range(len(CHALLENGES))]
    variants: list[Sequence[str | None]] = [texts.responses, *changed.values(), *turned]
    table, features = _values(model, value, texts, variants, embedder=embedder)
    lines = {name: _line(table[0], table[k], texts, changed[name]) for k, name in enumerate(changed, start=1)}
    probes = {name: line for name, line in lines.items() if line is not None}
    prompts, pairs = len(np.unique(texts.prompt)), texts.pairs
    if not len(pairs):
        warnings.warn(
            "no prompt has two different responses, so that there is no preference to put under stress; give pairs or "
            "pools for that",
            StressWarning,
            stacklevel=2,
        )
        return StressReport(len(texts), prompts, probes, None, None)
    cluster = texts.cluster[pairs[:, 0]]
    turns = _turns(table[[0, *range(len(changed) + 1, len(table))]], pairs, cluster, discount=discount)
    more: dict[str, Any] = {"radius": radius, "draws": draws, "seed": seed}
    flips = flip_report(lambda moved: value(model.score(moved)), features, pairs, cluster=cluster, **more)
    return StressReport(len(texts), prompts, probes, turns, flips)


def _values(
    model: RewardModel,
    value: Callable[[Reward], Array],
    texts: StressTexts,
    variants: Sequence[Sequence[str | None]],
    *,
    embedder: Embedder,
) -> tuple[Array, Features]:
    """Return the values `(variants, m)` of the texts' variants, NaN where there is none, and the first's features."""
    rows = [(prompt, text) for variant in variants for prompt, text in zip(texts.prompts, variant, strict=True)]
    there = np.array([text is not None for _, text in rows])
    prompts, responses = zip(*((prompt, text) for prompt, text in rows if text is not None), strict=True)
    encoded = encode(prompts, responses, embedder=embedder, views=model.widths)
    encoded.warn(stacklevel=3)
    table = np.full(len(rows), np.nan)
    table[there] = value(model.score(encoded.features))
    return table.reshape(len(variants), -1), encoded.features.take(np.arange(len(texts)))


def valued_by(rule: Selector | None) -> Callable[[Reward], Array]:
    """Return reward → the value `(n,)` of each text by a rule, the mean over draws without one.

    Raises:
        OptionError: the rule does not value texts by themselves.
    """
    if rule is None:
        return lambda reward: reward.centred().mean
    if not isinstance(rule, ValueRule):
        raise OptionError(
            "stress needs a rule that values each text by itself, such as mean, worst_case or lower_bound"
        )
    chosen = rule
    return lambda reward: chosen(reward.centred()).value


def _line(before: Array, after: Array, texts: StressTexts, changed: Sequence[str | None]) -> ProbeLine | None:
    gain = after - before
    there: BoolArray = ~np.isnan(gain)
    if not there.any():
        return None
    i = int(np.nanargmax(gain))
    spread = max(float(before.std()), 1e-300)
    accepted = np.where(there, gain >= -_ROUNDING * spread, np.nan)
    found = share(accepted[there], cluster=texts.cluster[there])
    example = (texts.responses[i], changed[i] or "", float(before[i]), float(after[i]))
    return ProbeLine(found, float(np.nanmean(gain)) / spread, accepted, example)


def _turns(values: Array, pairs: IntArray, cluster: npt.ArrayLike, *, discount: float) -> TurnReport:
    """Return whether preferences stand, from values before any turn and after each, `(turns + 1, m)`."""
    sign = np.sign(values[:, pairs[:, 0]] - values[:, pairs[:, 1]])
    stands = (sign == sign[0]).astype(np.float64)
    weight = discount ** np.arange(len(stands))
    kept = [share(turn, cluster=cluster) for turn in stands[1:]]
    estimate, low, high = (np.array([getattr(line, name) for line in kept]) for name in ("estimate", "low", "high"))
    together = share(np.minimum(weight @ stands / weight.sum(), 1), cluster=cluster)
    return TurnReport(Interval(estimate, low, high, kept[0].n, kept[0].level), together, discount)
