"""Kernel two-sample test of the outputs against the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.core.registry import register
from embrm.detectors._detector import in_units, unit_of
from embrm.detectors._permutation import PermutationDetector, SetStatistic


@register
@dataclass(frozen=True, kw_only=True)
class MMD(PermutationDetector):
    """Squared maximum mean discrepancy to the reference (Gaussian kernel), with a permutation p-value for the set.

    The unbiased estimate of Gretton et al. (2012, eq. 3); the kernel's width is the median distance of the joint rows.
    A row's score is the witness function there: how much denser the outputs are than the reference. Time and memory
    grow with the square of `rows`.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("mmd")(rounds=199).fit(rng.normal(size=(100, 3)))
        >>> clean, shifted = rng.normal(size=(50, 3)), rng.normal(size=(50, 3)) + 1
        >>> [fitted.check(rows).details["p_value"] <= 0.05 for rows in (clean, shifted)]
        [False, True]
    """

    def compare(self, x: Array, *, outputs: Array, reference: Array) -> SetStatistic:
        """Compare outputs `(n, k)` with the reference `(m, k)`."""
        from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

        unit = unit_of(outputs, reference)
        outputs, reference = in_units(outputs, unit), in_units(reference, unit)
        joint = np.concatenate([outputs, reference])
        square = euclidean_distances(joint, squared=True)
        # Where more than half of the pairs are equal, the mean stands in for their median of 0.
        width2 = float(np.median(square[np.triu_indices(len(joint), 1)])) or float(square.mean())
        kernel = np.exp(-square / (2 * width2))
        scores = np.empty(len(x))
        for start in range(0, len(x), 4096):
            part = in_units(x[start : start + 4096], unit)
            dense, usual = (rbf_kernel(part, of, gamma=0.5 / width2).mean(axis=1) for of in (outputs, reference))
            scores[start : start + 4096] = dense - usual
        return SetStatistic(lambda masks: _mmd2(kernel, masks), scores, {"width": width2**0.5 * unit})


def _mmd2(kernel: Array, masks: BoolArray) -> Array:
    """Return the unbiased squared MMD between the rows in each mask and the others, `(b,)`."""
    weights = masks.astype(kernel.dtype)
    n = weights.sum(axis=1, dtype=np.float64)
    m = len(kernel) - n
    reach = weights @ kernel
    inner = np.einsum("bn,bn->b", reach, weights, dtype=np.float64)
    cross = reach.sum(axis=1, dtype=np.float64) - inner
    outer = kernel.sum(dtype=np.float64) - inner - 2 * cross
    # A Gaussian kernel is 1 on the diagonal, which the unbiased estimate leaves out.
    return np.asarray((inner - n) / (n * (n - 1)) + (outer - m) / (m * (m - 1)) - 2 * cross / (n * m))
