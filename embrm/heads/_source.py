"""Where a gradient head's rows come from: one view, or prompts and responses crossed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from embrm.errors import DataError
from embrm.types import Array, Features, IntArray

CROSSED = "crossed"


class Source:
    """Rows of one view."""

    def __init__(self, features: Features, view: str) -> None:
        self.x = features.matrix(view)
        self.shape: tuple[int, int] = self.x.shape
        self.key: tuple[int, ...] = (id(self.x),)
        self._tensor = torch.from_numpy(self.x)

    @staticmethod
    def of(features: Features, view: str) -> Source:
        """Return the rows of a view; "crossed" is made of the views "prompt" and "response" unless it is given."""
        return Crossed(features) if view == CROSSED and CROSSED not in features.views else Source(features, view)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """Return rows as numpy."""
        return np.asarray(self.x[rows])

    def gather(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """Return rows as a tensor, written into `out` where it is given."""
        return torch.index_select(self._tensor, 0, rows, out=out)


class Crossed(Source):
    """Rows [e_p, e_r, e_p ∘ e_r] made when they are read: prompt and response stay apart, and meet in the product.

    Row i is text i. Row `crossed_row(p, r)` puts the response of text r under the prompt of text p: a virtual row.
    """

    def __init__(self, features: Features) -> None:
        missing = [view for view in ("prompt", "response") if view not in features.views]
        if missing:
            raise DataError(
                f"the view 'crossed' needs the views 'prompt' and 'response', and these features have "
                f"{', '.join(sorted(features.views))}; read the texts with views=('prompt', 'response')"
            )
        self.prompt, self.response = features.matrix("prompt"), features.matrix("response")
        if self.prompt.shape != self.response.shape:
            raise DataError(
                f"the views 'prompt' and 'response' must have one shape, got {self.prompt.shape} and "
                f"{self.response.shape}; embed both with one embedder"
            )
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
            out = torch.empty(len(rows), 3 * d)
        response = rows % m
        out[:, :d] = torch.from_numpy(self.prompt)[(rows // m + response) % m]
        out[:, d : 2 * d] = torch.from_numpy(self.response)[response]
        torch.mul(out[:, :d], out[:, d : 2 * d], out=out[:, 2 * d :])
        return out
