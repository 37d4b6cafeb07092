"""The training rows of a problem, standardised: as a table where that is small, or whenever they are read."""

from __future__ import annotations

import torch
from torch import Tensor

from embrm.heads.gradient.replicates import Prepared

TABLE_BYTES = 128 << 20  # a table of more is not made: its problem's features may fill the memory alone


class ScaledRows:
    """Training rows of a problem with mean 0 and standard deviation 1, in the type in which the input layer reads them.

    Attributes:
        index: `(2, n)` what `gather` takes of each pair: chosen, rejected.
    """

    def __init__(self, prepared: Prepared, *, dtype: torch.dtype) -> None:
        self._source, device = prepared.source, prepared.source.device
        self._mean, self._inverse = prepared.mean.to(device), (1 / prepared.scale).to(device)
        self.index, self._table = prepared.train.index, torch.empty(0)
        rows, places = torch.unique(self.index, return_inverse=True)
        width = self._source.shape[1]
        if len(rows) * width * dtype.itemsize <= TABLE_BYTES:
            self.index, self._table = places, torch.empty(len(rows), width, dtype=dtype, device=device)
            for part, out in zip(rows.to(device).split(4096), self._table.split(4096), strict=True):
                self.scale(self._source.gather(part), out=out)

    def gather(self, rows: Tensor, *, out: Tensor) -> None:
        """Write rows into `out (n, d)`."""
        if len(self._table):
            torch.index_select(self._table, 0, rows, out=out)
        else:
            self.scale(self._source.gather(rows), out=out)

    def scale(self, x: Tensor, *, out: Tensor) -> None:
        """Write features as this problem scales them into `out`; `x` is used up."""
        out.copy_(x.sub_(self._mean).mul_(self._inverse))
