"""How much more a text is like expert answers than like those of the reference policy, by densities of vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, as_matrix
from embrm.core.threads import one_thread
from embrm.errors import DataError, OptionError

AXES = 32  # principal axes of the vectors on which densities are measured


@one_thread
def imitation_penalty(x: npt.ArrayLike, *, experts: npt.ArrayLike, reference: npt.ArrayLike, axes: int = AXES) -> Array:
    """Return log p_ref − log p_experts of each row, `(n,)` nats: what the rule `imitation` subtracts.

    Both densities are Gaussians with Ledoit and Wolf's shrinkage on the first principal axes of all vectors of experts
    and reference together; further axes have too few texts to tell one density from the other.

    Args:
        x: `(n, d)` vectors of responses.
        experts: `(a, d)` those of expert answers, of any prompts.
        reference: `(b, d)` those of answers that the reference policy gave.
        axes: how many; at most d and a + b.

    Raises:
        DataError: experts or reference are fewer than two, or all equal, or widths differ.
        OptionError: `axes` is below 1.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> experts, policy = rng.normal(size=(500, 2)) + 1, rng.normal(size=(500, 2))
        >>> imitation_penalty([[1.0, 1.0], [0.0, 0.0]], experts=experts, reference=policy).round()
        array([-1.,  1.])
    """
    from sklearn.decomposition import PCA

    if axes < 1:
        raise OptionError(f"axes must be >= 1, got {axes}")
    rows, known, usual = (
        as_matrix(a, name=name).astype(np.float64)
        for a, name in ((x, "responses"), (experts, "expert answers"), (reference, "reference answers"))
    )
    if not rows.shape[1] == known.shape[1] == usual.shape[1]:
        raise DataError(
            f"responses, expert answers and reference answers must have one width, got {rows.shape[1]}, "
            f"{known.shape[1]} and {usual.shape[1]}; embed them with one embedder"
        )
    both = np.concatenate([known, usual])
    onto = PCA(min(axes, *both.shape), svd_solver="full").fit(both)
    of = {"expert answers": known, "reference answers": usual}
    first, second = (_log_density(onto.transform(rows), onto.transform(a), name) for name, a in of.items())
    return second - first


def _log_density(x: Array, of: Array, name: str) -> Array:
    from scipy.stats import multivariate_normal
    from sklearn.covariance import ledoit_wolf

    if not np.ptp(of, axis=0).any():
        raise DataError(f"a density needs texts that differ, got {len(of)} {name}, all equal; give more")
    return np.atleast_1d(multivariate_normal(of.mean(axis=0), ledoit_wolf(of)[0]).logpdf(x))
