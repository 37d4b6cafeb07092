"""What every head is: a frozen recipe whose `fit` returns another, immutable object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, Matrix
from embrm.core.chunks import each_chunk
from embrm.core.data import Features, Pairs, Problem, Provenance
from embrm.core.recipe import Recipe
from embrm.core.results import Kind, Reward, State
from embrm.core.seen import TrainingTexts
from embrm.core.threads import Limited
from embrm.core.views import PRINCIPLE, under_principle
from embrm.errors import DataError, OptionError
from embrm.heads import _hub
from embrm.heads._explain import Explanation, explain
from embrm.heads._principle import SAVED, warn_unfamiliar
from embrm.heads._registry import registry
from embrm.heads._remember import remembering
from embrm.heads._saved import save

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, kw_only=True)
class Head(Limited, Recipe, ABC, limited=("fit", "fit_many")):
    """A recipe for a reward model over frozen embeddings.

    Attributes:
        view: which view of the features the head reads, or which ones side by side, as "joint+response+length": every
            column is brought to unit variance over the training texts, and "length" is log(1 + characters).
        distance_aware: whether its draws spread out away from the training texts.
    """

    family = registry
    distance_aware: ClassVar[bool] = False
    view: str = "joint"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "fit_many" in cls.__dict__:
            setattr(cls, "fit_many", remembering(cls.__dict__["fit_many"]))  # noqa: B010 - mypy takes no assignment

    @abstractmethod
    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit all problems, together where they share a shape; each result equals that of `fit` alone (rtol 1e-3)."""

    @abstractmethod
    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from what its `state` gave."""

    def fit(self, pairs: Pairs, *, seed: int, validation: Pairs | None = None) -> FittedHead:
        """Fit one reward model.

        Args:
            pairs: training pairs.
            seed: determines initialisation, order of the pairs and splits.
            validation: pairs of other prompts for early stopping or tuning; None holds some prompts of `pairs` out.

        Raises:
            ConvergenceError: the loss stopped being finite.
        """
        return self.fit_many([Problem(pairs, seed, validation=validation)])[0]

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that the head and those that it wraps read, each once."""
        inner = [value for value in vars(self).values() if isinstance(value, Head)]
        return tuple(dict.fromkeys([self.view, *(view for head in inner for view in head.reads)]))

    @property
    def learns_steps(self) -> bool:
        """Whether it learns from labelled steps, and not from preferences: its reward is a logit then."""
        return False

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return the values that `embrm.tune` may try for each option ("base.beta" is an option of a wrapped head)."""
        return {}


@dataclass(frozen=True, eq=False)
class FittedHead(Limited, ABC, limited=("score", "latent")):
    """A fitted reward model.

    A subclass gives `_draws`, `_latent` and `arrays`. These names with an underscore are for heads, and theirs to rely
    on: a head that wraps another calls, beside the public methods, its `_view` (which rows of features it reads),
    `_draws` and `_latent` (rewards and latents of a chunk of those rows), and nothing else.

    Attributes:
        head: the recipe.
        width: columns `d` of the view that it reads.
        embedder: what made the training vectors; one that is not known accepts any.
        reference: `(s,)` mean of each draw on the training texts.
        record: what training saw (epochs, validation loss, counts), JSON-ready.
        seen: hashes of the texts of its training pairs; None where vectors came without their texts, and in the models
            that another wraps.
        principles: `(k, d)` vectors of the principles that it was trained under; None where it reads none.
    """

    head: Head
    width: int
    embedder: Provenance
    reference: Array
    record: dict[str, Any]
    seen: TrainingTexts | None = field(default=None, kw_only=True)
    principles: Array | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedder", Provenance.of(self.embedder))  # as `restore` finds it, plain

    @abstractmethod
    def _draws(self, x: Array) -> Array:
        """Return `(s, rows)` rewards of one chunk `(rows, d)`."""

    @abstractmethod
    def _latent(self, x: Array, member: int) -> Array:
        """Return `(rows, k)` latents of one chunk."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Return the fitted numbers by name."""

    @property
    def members(self) -> int:
        """Number of draws `s` that `score` returns."""
        return len(self.reference)

    @property
    def kind(self) -> Kind:
        """What the draws are."""
        return "members" if self.members > 1 else "point"

    @property
    def widths(self) -> dict[str, int]:
        """The views that the model reads, and their columns."""
        return {self.head.view: self.width}

    def children(self) -> dict[str, FittedHead]:
        """Return the fitted models that this one wraps, by name."""
        return {}

    def score(self, features: Features | npt.ArrayLike, *, chunk: int = 4096) -> Reward:
        """Return the reward of each row; each core that is used has `chunk` rows in memory at once.

        Raises:
            DataError: the width or the embedder is not the one the head was trained on, or draws are missing.
        """
        x = self._matrix(features)
        draws = np.empty((self.members, len(x)))

        def write(rows: slice) -> None:
            part = self._draws(x[rows])
            if part.shape != (self.members, rows.stop - rows.start):  # NumPy would repeat the draws of one member
                raise DataError(f"the model has {self.members} draws of each row, and gave an array {part.shape}")
            draws[:, rows] = part

        each_chunk(write, len(x), size=chunk)
        return Reward(draws, kind=self.kind, reference=self.reference)

    def latent(self, features: Features | npt.ArrayLike, *, member: int = 0, chunk: int = 4096) -> Array:
        """Return the latents `(n, k)` of one member; K encoders are K spaces."""
        self._check_member(member)
        x = self._matrix(features)
        parts = [self._latent(x[start : start + chunk], member) for start in range(0, max(len(x), 1), chunk)]
        return np.concatenate(parts)

    def under(self, principle: npt.ArrayLike) -> FittedHead:
        """Return the reward under one principle: a model of what is read beside it, as any other (SALMON, 2310.05910).

        Its centred scores are those of this model on texts with that principle. `embrm.under` takes the principle as
        text. Where it is less like any of the training rows' than each of those is like another, a warning says so.

        Args:
            principle: `(d,)` its vector, by the embedder of the texts.

        Raises:
            OptionError: the model reads no principle, or is of a head that cannot take one in.
            DataError: the vector has another width than the principles that it was trained under.
        """
        if under_principle(self.head.view) is None:
            raise OptionError(
                f"the model reads no principle: its view is '{self.head.view}'; fit a head of view=joint+principle to "
                f"rows with a column '{PRINCIPLE}'"
            )
        vector = np.asarray(principle, dtype=np.float32)
        if self.principles is not None and vector.shape != self.principles.shape[1:]:
            raise DataError(
                f"a principle is a vector of shape {self.principles.shape[1:]}, got {vector.shape}; embed it as those "
                "of the training rows were"
            )
        found = {} if self.principles is None else warn_unfamiliar(vector, self.principles)
        model = self._under(vector)
        return replace(model, principles=None, seen=self.seen, record={**self.record, "under": found})

    def _under(self, principle: Array) -> FittedHead:
        """Return the model with a principle taken into its parameters; `under` does the rest."""
        raise OptionError(
            f"the head '{self.head.config()['name']}' takes in no principle; linear, mlp, inform and an ensemble of "
            "them do"
        )

    def explain(self, pairs: Pairs, *, training: Pairs, neighbours: int = 5) -> list[Explanation]:
        """Return margin, spread and the nearest training pairs of each pair.

        Pairs are compared by the difference of their texts in the latent of member 0; where that is the reward alone
        (one column), in the features that the head reads.

        Args:
            pairs: what to explain; which of the two texts is called chosen only sets the signs.
            training: the pairs that the model was trained on.
            neighbours: how many of them to name.

        Raises:
            OptionError: `neighbours` is below 1.
        """
        return explain(self, pairs, training=training, neighbours=neighbours, view=self.head.view)

    def state(self) -> State:
        """Return the model as plain data, for saving."""
        config = {**self.head.config(), "width": self.width, "embedder": self.embedder.as_json(), "record": self.record}
        arrays = {"reference": np.asarray(self.reference, dtype=np.float64), **self.arrays()}
        arrays |= {} if self.seen is None else self.seen.arrays()
        arrays |= {} if self.principles is None else {SAVED: self.principles}
        return State(config, arrays, {name: child.state() for name, child in self.children().items()})

    def save(self, folder: str | Path) -> None:
        """Write the model as a folder: config.json, model.safetensors, probe.json, their manifest, README.md."""
        save(self.state(), Path(folder), widths=self.widths, score=self.score)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        license: str | None = None,  # noqa: A002 - the name that model cards have for it
        message: str | None = None,
        api: HfApi | None = None,
    ) -> str:
        """Upload what `save` writes to the Hugging Face hub, and return the address of the commit.

        What the model card on the hub has in its metadata beside this, such as a license, stays.

        Args:
            repo_id: `"owner/name"`; it is made where it does not exist.
            private: whether a new one is private; None leaves it to the owner's settings.
            license: for the card's metadata, as the hub names it (`"apache-2.0"`).
            message: of the commit.
            api: the hub's client; None takes the address and token of the environment and `hf auth login`.

        Raises:
            DataError: the hub cannot be reached, or refuses.
        """
        return _hub.push(self.save, repo_id, private=private, license=license, message=message, api=api)

    def _check_member(self, member: int) -> None:
        if not 0 <= member < self.members:
            raise DataError(f"member must be inside 0..{self.members - 1}, got {member}")

    def _view(self, features: Features) -> Matrix:
        """Return what the model reads of the features, `(n, d)`; `_draws` and `_latent` take rows of it."""
        return features.rows(self.head.view)

    def _matrix(self, features: Features | npt.ArrayLike) -> Matrix:
        features = Features.of(features)
        if not self.embedder.agrees(features.embedder):
            raise DataError(
                f"the model was trained on vectors of '{self.embedder}', these are of '{features.embedder}'; "
                "embed the texts with the first"
            )
        x = self._view(features)
        if x.shape[1] != self.width:
            raise DataError(
                f"the model was trained on vectors of width {self.width}, these have {x.shape[1]}; "
                "use the embedder (and the view) that it was trained with"
            )
        return x
