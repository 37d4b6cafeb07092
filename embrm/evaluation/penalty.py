"""Rules at work on pools of texts: what they are penalised by, and the rows they choose."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embrm import detectors, selectors
from embrm.core.arrays import Array, IntArray
from embrm.core.results import Choice
from embrm.data.texts import Texts
from embrm.detectors import ByClass, Detector, fit_by_class
from embrm.errors import OptionError
from embrm.evaluation.imitation import imitation_penalty
from embrm.evaluation.scorer import Scorer, read_numbers
from embrm.selectors import Selector
from embrm.selectors.penalised import Penalised


@dataclass(frozen=True, eq=False)
class Penalty:
    """What `penalised`, or `imitation`, is to subtract, and where it comes from.

    Attributes:
        name: "mbr" (minus the mean cosine to the pool), "imitation" (see `imitation_penalty`), a detector that scores
            rows ("mahalanobis" in the latent is InfoRM's IBL, "caution" is caution), or a file of one number a text.
        reference: texts that a detector learns as usual, by class where the rows of both files have a `class`; for
            imitation the answers of the reference policy, without which the pools are taken for them.
        space: see `Scorer.vectors`; None is "latent" for a detector and "response" for mbr and imitation.
        detector: the recipe where the name is a detector's; None is its default.
        experts: the answers that imitation is to be like.
    """

    name: str
    reference: Texts | None = None
    space: str | None = None
    detector: Detector | None = None
    experts: Texts | None = None

    def __post_init__(self) -> None:
        detector = self.name in detectors.names()
        made = ("mbr", "imitation")
        if not (detector or self.name in made or Path(self.name).is_file()):
            near = difflib.get_close_matches(self.name, [*made, *detectors.names()], n=1)
            hint = (
                f"did you mean '{near[0]}'?" if near else "give mbr, mahalanobis, caution, another detector or a file"
            )
            raise OptionError(f"no penalty and no file named '{self.name}'; {hint}")
        if detector and self.reference is None:
            raise OptionError(
                f"the penalty '{self.name}' measures how far texts are from reference texts; give them as reference"
            )
        if (self.experts is not None) != (self.name == "imitation"):
            raise OptionError("the penalty 'imitation' needs expert answers, and no other penalty has them")
        if not (detector or self.name == "imitation") and self.reference is not None:
            raise OptionError(f"the penalty '{self.name}' has no reference; leave it out, or penalise by a detector")
        if not (detector or self.name in made) and self.space is not None:
            raise OptionError(f"the penalty is read from {self.name} as it is; leave the space out")

    def of(self, texts: Texts, scorer: Scorer, *, seed: int) -> Array:
        """Return the penalty of each text of the pools, `(n,)`."""
        if self.experts is not None:
            space = self.space or "response"
            answers = (texts, self.experts, self.reference or texts)
            rows, experts, usual = (scorer.vectors(t, space=space) for t in answers)
            return imitation_penalty(rows, experts=experts, reference=usual)
        if self.name == "mbr":
            return mbr_penalty(scorer.vectors(texts, space=self.space or "response"), texts.offsets)
        if self.reference is None:
            return read_numbers(self.name, texts)
        known, new = (scorer.vectors(t, space=self.space or "latent") for t in (self.reference, texts))
        recipe = self.detector or detectors.get(self.name)()
        fitted = fit_by_class(recipe, known, classes=classes_of(self.reference), seed=seed)
        return fitted.scores(new, classes=classes_of(texts))


@dataclass(eq=False)
class LatentDistance:
    """The scores that a detector of single rows gives latents, such as the Mahalanobis distance of InfoRM's IBL.

    It can be pickled: the reference is kept, and the detector, whose functions pickle refuses, is fitted again.

    Attributes:
        detector: a recipe.
        latents: `(m, k)` of the reference.

    Raises:
        OptionError: the detector judges sets, not rows.
    """

    detector: Detector
    latents: Array

    def __post_init__(self) -> None:
        self._fitted  # noqa: B018 - what cannot be fitted is refused when made

    def __call__(self, latents: Array) -> Array:
        """Return the score of each row `(n, k)`, `(n,)`."""
        return self._fitted.scores(latents)

    @cached_property
    def _fitted(self) -> ByClass:
        return fit_by_class(self.detector, self.latents, seed=0)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_fitted"}


def classes_of(texts: Texts) -> list[str | None]:
    """Return the class of each text's row, `(n,)`; None where it has none."""
    names = [None if (c := row.get("class")) is None else str(c) for row in texts.rows.values]
    return [name for name, size in zip(names, np.diff(texts.offsets).tolist(), strict=True) for _ in range(size)]


def mbr_penalty(x: Array, offsets: IntArray) -> Array:
    """Return minus the mean cosine of each row `(n, d)` to its pool, itself included (2404.01054), in O(nd)."""
    length = np.linalg.norm(x, axis=1, keepdims=True).astype(np.float64)
    unit = x / np.where(length > 0, length, 1)
    counts = np.diff(offsets)
    mean = np.add.reduceat(unit, offsets[:-1], axis=0) / counts[:, None]
    return np.asarray(-np.einsum("nd,nd->n", unit, np.repeat(mean, counts, axis=0)))


def check_penalty(rules: Sequence[Selector], *, given: bool) -> None:
    """Make sure, before any work, that there is a penalty where a rule takes one, and none where no rule does.

    Raises:
        OptionError: it is not so.
    """
    taking = any(isinstance(rule, Penalised) for rule in rules)
    if taking and not given:
        raise OptionError(
            "the rule 'penalised' needs a penalty: mahalanobis, caution or another detector, mbr, a file; 'imitation' "
            "needs imitation, with expert answers"
        )
    if given and not taking:
        names = " and ".join(f"'{selectors.registry.name_of(rule)}'" for rule in rules) or "those of default"
        raise OptionError(f"the penalty has no use: of the rules, {names}, none takes one; choose by 'penalised'")


def chosen_rows(texts: Texts, choice: Choice, *, gold: Array | None) -> list[dict[str, Any]]:
    """Return one row a pool: id, prompt, response, its index in the pool, its value; gold, policy, class if known."""
    rows, names = [], texts.names
    for given, row in zip(texts.rows.values, choice.index.tolist(), strict=True):
        name, index = names[row]
        chosen = {"id": name, "prompt": texts.prompts[row], "response": texts.responses[row], "index": index}
        chosen["value"] = float(choice.value[row])
        if gold is not None:
            chosen["gold"] = float(gold[row])
        if given.get("policy") is not None:
            chosen["policy"] = str(given["policy"][index])
        if given.get("class") is not None:
            chosen["class"] = given["class"]
        rows.append(chosen)
    return rows
