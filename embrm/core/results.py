"""What comes out of the families: rewards, choices, verdicts, and a fitted object as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray, as_vector
from embrm.core.data import Features
from embrm.errors import DataError

Kind: TypeAlias = Literal["members", "posterior", "point"]


@dataclass(frozen=True, eq=False)
class Reward:
    """What a reward model believes about `n` texts.

    Attributes:
        draws: `(s, n)` joint: members, posterior draws, or one point.
        kind: what a row of `draws` is. Rules that mean "members" refuse posterior draws.
        sigma: `(s, n)` a member's own predictive standard deviation (BRME), or None.
        reference: `(s,)` mean of each draw on the training texts: the free offset of a preference likelihood.
        annotator: `s` names: whose liking each draw is of; None where draws are not told apart so.
    """

    draws: Array
    kind: Kind
    sigma: Array | None = None
    reference: Array | None = None
    annotator: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        draws = np.asarray(self.draws, dtype=np.float64)
        if draws.ndim != 2 or draws.shape[0] == 0:
            raise DataError(f"draws must be 2-D (s, n) with s >= 1, got shape {draws.shape}")
        if not all(np.isfinite(row).all() for row in draws):  # one by one: no boolean matrix beside many draws
            raise DataError("rewards must be finite, got NaN or infinity")
        if self.kind == "point" and len(draws) != 1:
            raise DataError(f"a point reward has one draw, got {len(draws)}; use kind 'members' or 'posterior'")
        object.__setattr__(self, "draws", draws)
        if self.sigma is not None:
            sigma = np.asarray(self.sigma, dtype=np.float64)
            if sigma.shape != draws.shape or not (sigma >= 0).all():
                raise DataError(f"sigma must be >= 0 with the shape {draws.shape} of draws, got {sigma.shape}")
            object.__setattr__(self, "sigma", sigma)
        if self.reference is not None:
            object.__setattr__(self, "reference", as_vector(self.reference, "reference", len(draws), np.float64))
        if self.annotator is not None and len(self.annotator) != len(draws):
            raise DataError(f"annotator must name whose each of the {len(draws)} draws is, got {len(self.annotator)}")

    def __len__(self) -> int:
        return int(self.draws.shape[1])

    @property
    def mean(self) -> Array:
        """Mean over draws, `(n,)`."""
        return np.asarray(self.draws.mean(axis=0))

    @property
    def sd(self) -> Array:
        """Standard deviation over draws, `(n,)`, ddof 0."""
        return np.asarray(self.draws.std(axis=0))

    def centred(self) -> Reward:
        """Return each draw minus its mean on the training texts, without which members cannot be compared."""
        if self.reference is None:
            return self
        return replace(self, draws=self.draws - self.reference[:, None], reference=None)

    def by_annotator(self) -> dict[str, Array]:
        """Return the draws `(s_a, n)` of each annotator; draws that name none are an annotator each, from "1" on."""
        names = self.annotator or tuple(str(k + 1) for k in range(len(self.draws)))
        return {name: self.draws[[other == name for other in names]] for name in dict.fromkeys(names)}


@dataclass(frozen=True, eq=False)
class Choice:
    """What a selector chose.

    Attributes:
        index: `(pools,)` the chosen row of each pool, counted over all rows.
        value: `(n,)` the effective reward that was compared.
        probability: `(n,)` with which the rule picks each row; sums to 1 in every pool.
    """

    index: IntArray
    value: Array
    probability: Array


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a detector says of a set of outputs.

    Attributes:
        detector: its name.
        statistic: one number for the whole set.
        scores: `(n,)` per output; higher is always more suspicious.
        p_values: `(n,)` or None where the method has none.
        flagged: `(n,)` True where the p-value is at most `alpha`, or None.
        alpha: the nominal share of clean outputs that may be flagged.
        details: further numbers of the method (JSON-ready).
        warnings: what a reader must know before trusting the numbers.
    """

    detector: str
    statistic: float
    scores: Array
    p_values: Array | None = None
    flagged: BoolArray | None = None
    alpha: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def flagged_fraction(self) -> float | None:
        """Share of the outputs that were flagged, or None."""
        return None if self.flagged is None else float(np.mean(self.flagged))


@dataclass(frozen=True, eq=False)
class State:
    """A fitted object as plain data: JSON-ready `config`, named `arrays`, and the states of what it wraps."""

    config: Mapping[str, Any]
    arrays: Mapping[str, Array]
    children: Mapping[str, State] = field(default_factory=dict)

    def array(self, name: str, *shape: int | None) -> Array:
        """Return an array that must have a shape, in which None stands for any length.

        Raises:
            DataError: it is not there, or has another shape.
        """
        if name not in self.arrays:
            raise DataError(f"there is no array '{name}'; there are {', '.join(sorted(self.arrays))}")
        found = self.arrays[name]
        if len(found.shape) != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, found.shape, strict=True)
        ):
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise DataError(f"the array '{name}' must have shape ({wanted}), got {found.shape}")
        return found

    def flat(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Yield all arrays with the path of the child that owns them, for one safetensors file."""
        for name, array in self.arrays.items():
            yield prefix + name, array
        for name, child in self.children.items():
            yield from child.flat(f"{prefix}{name}/")


@runtime_checkable
class RewardModel(Protocol):
    """A fitted head."""

    @property
    def widths(self) -> Mapping[str, int]:
        """The views that the model reads, and their columns."""

    def score(self, features: Features | npt.ArrayLike, *, chunk: int = 4096) -> Reward:
        """Return the reward of each row."""

    def latent(self, features: Features | npt.ArrayLike, *, member: int = 0) -> Array:
        """Return `(n, k)` latents of one member."""

    def state(self) -> State:
        """Return the model as plain data."""
