"""A reward for each of several annotators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import IntArray
from embrm.core.data import Features, Pairs, Problem
from embrm.core.registry import register
from embrm.core.results import Reward, State
from embrm.errors import DataError, OptionError
from embrm.heads._head import FittedHead, Head
from embrm.heads.ensemble import FittedEnsemble

OTHERS = "others"


@register
@dataclass(frozen=True, kw_only=True)
class Annotators(Head):
    """A reward for each annotator, learned from the pairs that this one judged (after MARLHF, Zhang et al. 2409.00717).

    All annotators go to the base in one `fit_many`, so that a base trained by gradient learns them as one batch. The
    draws of the annotators stand one below the other, named in `Reward.annotator`, and the rules `utilitarian`,
    `egalitarian` and `nash` weigh them. Of the paper the rewards and the question of coverage are built, for one
    response that all judge; its games of several agents and their policies are left out. Pairs that name no annotator
    at all are one annotator's.

    Attributes:
        base: the head of each; one with several draws, such as the default, says how sure it is of an annotator.
        fewest: how many pairs an annotator must have judged, of two prompts or more, to have a reward.
        rare: what becomes of annotators with fewer: "refuse" says who they are, "join" makes them one, "others".
    """

    base: Head = field(default_factory=lambda: Head.of("laplace"))
    fewest: int = 2
    rare: Literal["refuse", "join"] = "refuse"

    def __post_init__(self) -> None:
        if self.fewest < 2:
            raise OptionError(f"fewest must be >= 2 (a single pair teaches no reward), got {self.fewest}")
        if self.rare not in ("refuse", "join"):
            raise OptionError(f"rare must be one of refuse, join, got '{self.rare}'")
        object.__setattr__(self, "view", self.base.view)

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit all annotators of all problems together."""
        judged = [self._groups(problem.pairs) for problem in problems]
        jobs = [
            replace(problem, pairs=problem.pairs.take(rows), validation=_of(problem.validation, name))
            for problem, groups in zip(problems, judged, strict=True)
            for name, rows in groups.items()
        ]
        fitted = iter(self.base.fit_many(jobs))
        out: list[FittedHead] = []
        for groups in judged:
            record = {"annotators": [{"name": name, "pairs": len(rows)} for name, rows in groups.items()]}
            out.append(self._collect([next(fitted) for _ in groups], record))
        return out

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that the base reads."""
        return self.base.reads

    def _groups(self, pairs: Pairs) -> dict[str, IntArray]:
        """Return the pairs of each annotator.

        Raises:
            DataError: some pairs name nobody, or annotators are rare and that is refused.
        """
        if pairs.annotator is None:
            return {"": np.arange(len(pairs))}
        unknown = np.flatnonzero(pairs.annotator == "")
        if unknown.size:
            raise DataError(
                f"{unknown.size} of {len(pairs)} pairs have no annotator, first pair {unknown[0]}; name who judged "
                "them, or leave them out"
            )
        rare: list[str] = []
        groups: dict[str, IntArray] = {}
        for name in np.unique(pairs.annotator).tolist():
            rows = np.flatnonzero(pairs.annotator == name)
            few = len(rows) < self.fewest or len(np.unique(pairs.prompt[rows])) < 2
            rare += [name] if few else []
            groups |= {} if few else {name: rows}
        joined = np.flatnonzero(np.isin(pairs.annotator, rare)) if self.rare == "join" else np.arange(0)
        if len(joined) >= self.fewest and len(np.unique(pairs.prompt[joined])) > 1 and OTHERS not in groups:
            return groups | {OTHERS: joined}
        if rare:
            shown = ", ".join(f"'{name}' ({np.sum(pairs.annotator == name)})" for name in rare[:5])
            more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
            raise DataError(
                f"{len(rare)} annotators judged fewer than {self.fewest} pairs, or those of one prompt: {shown}{more}; "
                "leave them out, or join them as one (rare=join)"
            )
        return groups

    def _collect(self, models: list[FittedHead], record: dict[str, Any]) -> FittedAnnotators:
        return FittedAnnotators(
            head=self,
            width=models[0].width,
            embedder=models[0].embedder,
            reference=np.concatenate([model.reference for model in models]),
            record={**record, "fits": [model.record for model in models]},
            models=tuple(models),
        )

    def space(self) -> dict[str, Sequence[Any]]:
        """Return what the base may try."""
        return {f"base.{name}": values for name, values in self.base.space().items()}

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        from embrm.heads._load import restore

        models = [restore(state.children[str(k)]) for k in range(len(state.children))]
        if len(state.config["record"]["annotators"]) != len(models):
            raise DataError(f"the record names other annotators than those of the {len(models)} rewards; save it again")
        return self._collect(models, state.config["record"])


def _of(pairs: Pairs | None, name: str) -> Pairs | None:
    """Return the validation pairs of an annotator, or all where this one has none among them."""
    if pairs is None or pairs.annotator is None or name not in pairs.annotator:
        return pairs
    return pairs.take(pairs.annotator == name)


@dataclass(frozen=True, eq=False)
class FittedAnnotators(FittedEnsemble):
    """The fitted rewards of annotators, each of which may have draws of its own."""

    @property
    def annotators(self) -> tuple[str, ...]:
        """The names of the annotators, in the order of `models`."""
        return tuple(each["name"] for each in self.record["annotators"])

    def score(self, features: Features | npt.ArrayLike, *, chunk: int = 4096) -> Reward:
        """Return the draws of all annotators for each row, and whose they are."""
        names = [name for name, model in zip(self.annotators, self.models, strict=True) for _ in range(model.members)]
        return replace(super().score(features, chunk=chunk), annotator=tuple(names))
