"""Which rows a model was trained on: what it makes of those says little about others, and is not mixed with them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import BoolArray
from embrm.core.data import Candidates, Pairs
from embrm.core.results import RewardModel
from embrm.core.seen import NO_PROMPT, HashArray, TextHashes, TrainingTexts
from embrm.data.texts import Texts


class TrainedOnWarning(UserWarning):
    """A model is judged on rows that it was trained on, or on prompts of its training."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """What `n` rows have in common with a model's training texts.

    Attributes:
        unit: what a row is, for messages.
        seen: `(n,)` True for rows that the model was trained on.
        prompt: `(n,)` hash of each row's prompt, 0 where it has none.
        known: `(n,)` True where the prompt was in training, be it with other responses.
    """

    unit: str
    seen: BoolArray
    prompt: HashArray
    known: BoolArray

    @property
    def mixed(self) -> bool:
        """Whether the model was trained on some of the rows and not on others."""
        return bool(self.seen.any() and not self.seen.all())

    def as_dict(self) -> dict[str, int]:
        """Return how many rows there are and were trained on, and of the other rows' prompts how many were."""
        others = ~self.seen & (self.prompt != NO_PROMPT)
        return {
            "rows": len(self.seen),
            "trained_on": int(self.seen.sum()),
            "other_prompts": len(np.unique(self.prompt[others])),
            "other_prompts_trained_on": len(np.unique(self.prompt[others & self.known])),
        }

    def warn(self, name: str = "the model", *, stacklevel: int = 2) -> None:
        """Warn of rows that were trained on, and of other rows whose prompts were."""
        count = self.as_dict()
        if count["trained_on"]:
            apart = "; the others are reported apart" if self.mixed else ""
            self._warn(
                f"{name} was trained on {count['trained_on']} of these {count['rows']} {self.unit}, and what it makes "
                f"of them says little about others{apart}",
                stacklevel + 1,
            )
        if count["other_prompts_trained_on"]:
            of = f"the other {self.unit}" if self.mixed else f"these {self.unit}"
            self._warn(
                f"{count['other_prompts_trained_on']} of {count['other_prompts']} prompts of {of} were in the training "
                f"of {name}, with other responses",
                stacklevel + 1,
            )

    @staticmethod
    def _warn(text: str, stacklevel: int) -> None:
        warnings.warn(text, TrainedOnWarning, stacklevel=stacklevel + 1)


def seen_by(model: RewardModel | None) -> TrainingTexts | None:
    """Return what a model was trained on; None where it does not know, as where its vectors came without texts."""
    seen: TrainingTexts | None = getattr(model, "seen", None)
    return seen


def data_overlap(model: RewardModel, data: Pairs | Candidates) -> Overlap | None:
    """Return which pairs or pools a model was trained on, or None where the texts of either are not known.

    It was trained on a pair where it was on both of its texts, whichever was chosen and whatever they were compared
    with; and on a pool where it was on any of its responses.
    """
    seen, hashes = seen_by(model), data.features.hashes
    if seen is None or hashes is None:
        return None
    text, known = seen.has_text(hashes), seen.has_prompt(hashes)
    if isinstance(data, Pairs):
        both = text[data.chosen] & text[data.rejected]
        return Overlap("pairs", both, hashes.prompt[data.chosen], known[data.chosen])
    first = data.offsets[:-1]
    return Overlap("pools", np.logical_or.reduceat(text, first), hashes.prompt[first], known[first])


def texts_overlap(model: RewardModel | None, texts: Texts) -> Overlap | None:
    """Return which rows of a file hold a text that a model was trained on, or None where the model does not know."""
    seen = seen_by(model)
    if seen is None:
        return None
    hashes, first = TextHashes.of(texts.prompts, texts.responses), texts.offsets[:-1]
    rows = np.logical_or.reduceat(seen.has_text(hashes), first)
    return Overlap("rows", rows, hashes.prompt[first], seen.has_prompt(hashes)[first])
