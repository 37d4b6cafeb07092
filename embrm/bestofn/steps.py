"""A response's reward from the scores of its steps, and search over steps by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, IntArray, as_vector, check_offsets
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError

Aggregation: TypeAlias = Literal["min", "product", "last", "mean", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
Prefix: TypeAlias = tuple[str, ...]


def aggregate(scores: npt.ArrayLike, offsets: npt.ArrayLike, how: Aggregation = "min") -> Array:
    """Return one number a trace `(traces,)` from the scores of its steps (2311.05821 compares these).

    >>> aggregate([0.9, 0.5, 0.8], [0, 2, 3], "product").tolist()
    [0.45, 0.8]

    Args:
        scores: `(m,)` of all steps, trace by trace; of a product, probabilities.
        offsets: `(traces + 1,)` where each trace begins and ends.
        how: "min" is the worst step, "product" the chance that all are right were they independent, "last" what the
            whole text scores, "mean" the average step, "max" the best step.

    Raises:
        DataError: a trace has no step, or there is not one finite score a step.
        OptionError: there is no such aggregation, or a product is asked of scores outside [0, 1].
    """
    if how not in AGGREGATIONS:
        raise OptionError(f"how must be one of {', '.join(AGGREGATIONS)}, got '{how}'")
    x = np.asarray(scores, dtype=np.float64)
    bounds = check_offsets(offsets, x.size)
    x = as_vector(x, "scores", int(bounds[-1]), np.float64)
    if how == "product" and (x.min() < 0 or x.max() > 1):
        raise OptionError(
            f"a product is of probabilities inside [0, 1], got scores from {x.min():.3g} to {x.max():.3g}"
        )
    if how == "last":
        return np.asarray(x[bounds[1:] - 1])
    if how == "mean":
        return np.asarray(np.add.reduceat(x, bounds[:-1]) / np.diff(bounds))
    reduce = {"min": np.minimum, "product": np.multiply, "max": np.maximum}[how]
    return np.asarray(reduce.reduceat(x, bounds[:-1]))


def step_probability(reward: Reward) -> Array:
    """Return the probability of each draw that each prefix is right so far, `(s, m)`, of a head trained by steps.

    Its logit is the reward from its reference on (`Reward.centred`).
    """
    from scipy.special import expit

    return np.asarray(expit(reward.centred().draws))


def trace_reward(reward: Reward, offsets: IntArray, how: Aggregation = "min") -> Reward:
    """Return the reward of whole traces, draw by draw, which every rule of `embrm.selectors` takes.

    Args:
        reward: of all prefixes, by a head that was trained with `loss="step"`.
        offsets: `(traces + 1,)` of the traces among them.
        how: see `aggregate`.

    Raises:
        DataError: see `aggregate`.
        OptionError: likewise.
    """
    return Reward(np.stack([aggregate(draw, offsets, how) for draw in step_probability(reward)]), reward.kind)


@dataclass(frozen=True)
class Trace:
    """A response that a search has found.

    Attributes:
        steps: its steps.
        scores: of each prefix.
        value: their aggregate.
        finished: whether nothing may follow; False of what a search that ran out of its budget had in hand.
    """

    steps: Prefix
    scores: tuple[float, ...]
    value: float
    finished: bool


@dataclass(frozen=True, eq=False)
class StepSearch:
    """Greedy and beam search over steps, led by a step reward, with back-tracking.

    In each round the open prefixes of the beam are continued by what `propose` gives, and all continuations are scored
    at once; the best `width` make the next beam. One whose own score is below `threshold` is set aside. Where that
    leaves the beam short, it is filled up with prefixes that were passed over, those with most steps first and of these
    the best: the search goes back to the nearest ancestor with another way on. With a width of 1 that is the heuristic
    greedy search of 2310.10080; in place of its fallback on steps that are judged neutral, the best of those set aside
    is followed where nothing else is open. The language model that writes the steps there, and stops at an end token,
    is up to `propose`.

    Attributes:
        width: prefixes that are followed at a time; 1 is greedy.
        how: see `aggregate`.
        threshold: a step that scores less is not followed while there is another way; 0 never goes back for a score.
        budget: the most prefixes that are scored; a round that would go beyond it is cut short.
    """

    width: int = 1
    how: Aggregation = "min"
    threshold: float = 0.0
    budget: int = 1_000

    def __post_init__(self) -> None:
        if self.width < 1 or self.budget < 1:
            raise OptionError(f"width and budget must be >= 1, got {self.width} and {self.budget}")
        aggregate([0.5], [0, 1], self.how)

    def run(
        self,
        propose: Callable[[Sequence[Prefix]], Sequence[Sequence[str | None]]],
        score: Callable[[Sequence[Prefix]], npt.ArrayLike],
    ) -> list[Trace]:
        """Return up to `width` finished traces, the best first, or where none was finished the best prefix alone.

        Args:
            propose: prefixes (the empty one first) → for each the steps that may follow; None among them, or no step
                at all, says that the response may end there.
            score: prefixes → `(n,)` the score of the last step of each, such as `step_probability`.

        Raises:
            DataError: nothing was proposed to begin with, or there is not one finite score a prefix.
        """
        beam, passed, aside = [Trace((), (), np.inf, False)], list[Trace](), list[Trace]()
        done: list[Trace] = []
        best: Trace | None = None
        spent = 0
        while beam and len(done) < self.width and spent < self.budget:
            children: list[tuple[Trace, str]] = []
            for node, steps in zip(beam, propose([node.steps for node in beam]), strict=True):
                if node.steps and (not steps or None in steps):
                    done.append(Trace(node.steps, node.scores, node.value, True))
                children += [(node, step) for step in steps if step is not None]
            if best is None and not children:
                raise DataError("no first step was proposed; a search needs at least one")
            found = self._scored(children[: self.budget - spent], score)
            spent += len(found)
            best = max([*found, *([best] if best else [])], key=lambda t: t.value, default=None)
            aside += [trace for trace in found if trace.scores[-1] < self.threshold]
            ahead = sorted((t for t in found if t.scores[-1] >= self.threshold), key=lambda t: -t.value)
            beam, left = ahead[: self.width], ahead[self.width :]
            passed += left
            short = self.width - len(beam)
            passed.sort(key=lambda t: (-len(t.steps), -t.value))
            beam, passed = [*beam, *passed[:short]], passed[short:]
            if not beam and not done and aside:
                aside.sort(key=lambda t: -t.scores[-1])
                beam.append(aside.pop(0))
        done.sort(key=lambda t: -t.value)
        return done[: self.width] or ([best] if best else [])

    def _scored(
        self, children: Sequence[tuple[Trace, str]], score: Callable[[Sequence[Prefix]], npt.ArrayLike]
    ) -> list[Trace]:
        if not children:
            return []
        prefixes = [(*node.steps, step) for node, step in children]
        values = as_vector(score(prefixes), "scores", len(prefixes), np.float64).tolist()
        out = []
        for (node, _), prefix, value in zip(children, prefixes, values, strict=True):
            scores = (*node.scores, float(value))
            out.append(Trace(prefix, scores, float(aggregate(scores, [0, len(scores)], self.how)[0]), False))
        return out
