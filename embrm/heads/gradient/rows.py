"""Where a gradient head's rows come from: one view, several side by side, or some that are crossed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embrm.core.arrays import Array, IntArray, Matrix
from embrm.core.data import Features
from embrm.core.mapped import FileMatrix
from embrm.core.views import CROSSED, LENGTH, parts, under_principle
from embrm.errors import DataError


class Matrices:
    """Feature matrices on a device, each there once, however many problems read it; those in files stay there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._known: dict[int, tuple[Array, Tensor]] = {}

    def take(self, x: Matrix, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """Return rows of a matrix as a tensor on the device, written into `out` where it is given."""
        if isinstance(x, FileMatrix):
            read = torch.from_numpy(x[rows.cpu().numpy()]).to(self.device)
            return read if out is None else out.copy_(read)
        if id(x) not in self._known:
            self._known[id(x)] = x, torch.from_numpy(x).to(self.device)  # holding x keeps its id from being used again
        return torch.index_select(self._known[id(x)][1], 0, rows, out=out)


class RowSource:
    """Rows of one view."""

    def __init__(self, features: Features, view: str, matrices: Matrices) -> None:
        self.x, self.matrices = features.rows(view), matrices
        self.shape: tuple[int, int] = self.x.shape
        self.features = features  # held, so that its ids are not used again
        self.key: tuple[int, ...] = (id(features.length if view == LENGTH else self.x),)

    @staticmethod
    def of(features: Features, view: str, matrices: Matrices | None = None) -> RowSource:
        """Return the rows of a view; one that is made of others, as "crossed" is, is made unless it is given."""
        matrices = matrices or Matrices(torch.device("cpu"))
        if view in features.views:
            return RowSource(features, view, matrices)
        if len(names := parts(view)) > 1:
            sources = {name: RowSource.of(features, name, matrices) for name in names}
            principled = under_principle(view)
            crossed = [] if principled is None else [sources[name] for name in principled[1]]
            return SideBySide([*sources.values()], matrices, crossed=crossed)
        return Crossed(features, matrices) if view == CROSSED else RowSource(features, view, matrices)

    @property
    def device(self) -> torch.device:
        """Where `gather` takes rows and returns them."""
        return self.matrices.device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """Return rows as numpy."""
        return np.asarray(self.x[rows])

    def gather(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """Return rows as a tensor, written into `out` where it is given."""
        return self.matrices.take(self.x, rows, out)


class SideBySide(RowSource):
    """Rows of several views, put side by side when they are read: no second copy of the features is kept.

    Behind them stand the products of the last, which is a principle, with those that are crossed with it.
    """

    def __init__(self, sources: Sequence[RowSource], matrices: Matrices, *, crossed: Sequence[RowSource] = ()) -> None:
        self.sources, self.matrices, self.crossed = sources, matrices, crossed
        self.shape = (len(sources[0]), sum(source.shape[1] for source in (*sources, *crossed)))
        self.key = tuple(part for source in sources for part in source.key)
        last = sources[-1].shape[1]
        if any(source.shape[1] != last for source in crossed):
            raise DataError(
                f"a principle is crossed with vectors of its own width, got {last} and "
                f"{', '.join(str(source.shape[1]) for source in crossed)}; embed all with one embedder"
            )

    def __getitem__(self, rows: Any) -> Array:
        """Return rows as numpy."""
        columns = [source[rows] for source in self.sources]
        return np.concatenate([*columns, *(columns[-1] * source[rows] for source in self.crossed)], axis=-1)

    def gather(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """Return rows as a tensor, written into `out` where it is given."""
        columns = [source.gather(rows) for source in self.sources]
        return torch.cat([*columns, *(columns[-1] * source.gather(rows) for source in self.crossed)], dim=1, out=out)


class Crossed(RowSource):
    """Rows [e_p, e_r, e_p ∘ e_r] made when they are read: prompt and response stay apart, and meet in the product.

    Row i is text i. Row `crossed_row(p, r)` puts the response of text r under the prompt of text p: a virtual row.
    """

    def __init__(self, features: Features, matrices: Matrices) -> None:
        missing = [view for view in ("prompt", "response") if view not in features.views]
        if missing:
            raise DataError(
                f"the view 'crossed' needs the views 'prompt' and 'response', and these features have "
                f"{', '.join(sorted(features.views))}; read the texts with views=('prompt', 'response')"
            )
        self.prompt, self.response = features.rows("prompt"), features.rows("response")
        if self.prompt.shape != self.response.shape:
            raise DataError(
                f"the views 'prompt' and 'response' must have one shape, got {self.prompt.shape} and "
                f"{self.response.shape}; embed both with one embedder"
            )
        self.matrices = matrices
        self.shape = (len(self.prompt), 3 * self.prompt.shape[1])
        self.key = (id(self.prompt), id(self.response))

    def crossed_row(self, prompt: IntArray, response: IntArray) -> IntArray:
        """Return the number of the row with the prompt of one text and the response of another."""
        m = len(self)
        return np.asarray((prompt - response) % m * m + response)

    def __getitem__(self, rows: Any) -> Array:
        """Return rows, virtual ones too."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        response = np.asarray(rows) % len(self)
        p = self.prompt[(np.asarray(rows) // len(self) + response) % len(self)]
        r = self.response[response]
        return np.concatenate([p, r, p * r], axis=-1)

    def gather(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """Return rows, virtual ones too."""
        m, d = self.prompt.shape
        if out is None:
            out = torch.empty(len(rows), 3 * d, device=self.device)
        response = rows % m
        out[:, :d] = self.matrices.take(self.prompt, (rows // m + response) % m)
        out[:, d : 2 * d] = self.matrices.take(self.response, response)
        torch.mul(out[:, :d], out[:, d : 2 * d], out=out[:, 2 * d :])
        return out
