"""The spaces in which detectors compare texts: the latent, embeddings, their principal axes, numbers of the reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from embrm.core.arrays import Array
from embrm.core.files import Rows
from embrm.core.trajectory import Trajectory
from embrm.data.chat import check_characters, short
from embrm.data.texts import Texts
from embrm.errors import DataError
from embrm.evaluation.scorer import Scorer

Space: TypeAlias = Literal["latent", "joint", "response", "pca", "disagreement", "length"]
SPACES: tuple[Space, ...] = get_args(Space)
AXES = 32  # principal axes of the space "pca"


def principal_axes(reference: Array, *, axes: int = AXES) -> Callable[[Array], Array]:
    """Return the projection of rows `(n, d)` on the reference's first principal axes, `(n, axes)`.

    Args:
        reference: `(m, d)`, whose mean becomes the origin.
        axes: how many; at most m and d.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> onto = principal_axes(rng.normal(size=(50, 3)) * [9, 3, 1], axes=2)
        >>> onto(np.zeros((4, 3))).shape
        (4, 2)
    """
    from sklearn.decomposition import PCA

    fitted = PCA(min(axes, *reference.shape), svd_solver="full").fit(reference)

    def project(x: Array) -> Array:
        return np.asarray(fitted.transform(x))

    return project


def both_sides(
    scorer: Scorer, reference: Texts, outputs: Texts, *, space: Space, member: int = 0
) -> tuple[Array, Array]:
    """Return reference `(m, k)` and outputs `(n, k)` in a space.

    "latent" is one member's, "joint" and "response" are embeddings, "pca" the joint ones on the reference's first 32
    principal axes, "disagreement" the standard deviation over the members' rewards, "length" characters.
    """
    first, second = (_vectors(scorer, texts, space, member) for texts in (reference, outputs))
    if space != "pca":
        return first, second
    project = principal_axes(first)
    return project(first), project(second)


def run_sides(
    scorer: Scorer, reference: Texts, run: Trajectory, *, space: Space, member: int = 0
) -> tuple[Array, list[Array]]:
    """Return reference `(m, k)` and, for each step of a run, its rows `(n, k)` in a space.

    Latents are those recorded with the run, of all texts of each step; where there are none, and in every other space,
    rows come from the few texts that each step keeps.

    Raises:
        DataError: what a step keeps is no text, or the run keeps none.
    """
    latents = [step.latent for step in run.steps if step.latent is not None]
    if space == "latent" and member == 0 and len(latents) == len(run):
        return _vectors(scorer, reference, space, 0), latents
    kept = [sample for step in run.steps for sample in step.sample]
    values = [_common(sample, str(run.folder)) for sample in kept]
    if not values:
        raise DataError(f"the run in {run.folder} keeps no texts, so that there is nothing to compare in '{space}'")
    texts = Texts(
        "texts",
        Rows(str(run.folder), values, list(range(1, len(values) + 1))),
        [row["prompt"] for row in values],
        [row["response"] for row in values],
        np.arange(len(values) + 1),
    )
    known, rows = both_sides(scorer, reference, texts, space=space, member=member)
    ends = np.cumsum([len(step.sample) for step in run.steps])
    return known, [rows[end - len(step.sample) : end] for step, end in zip(run.steps, ends, strict=True)]


def _common(sample: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return a text that a step has kept, as a row of texts."""
    prompt, text = sample.get("prompt"), sample.get("text")
    if not isinstance(prompt, str) or not isinstance(text, str):
        raise DataError(
            f"the run in {where}: what a step keeps must have 'prompt' and 'text', got {short(dict(sample))}; the file "
            "is damaged"
        )
    return {"prompt": check_characters(prompt, where), "response": check_characters(text, where)}


def _vectors(scorer: Scorer, texts: Texts, space: Space, member: int) -> Array:
    if space == "length":
        return np.array([[len(response)] for response in texts.responses], dtype=np.float64)
    if space == "disagreement":
        return scorer.reward(texts).sd[:, None]
    return scorer.vectors(texts, space="joint" if space == "pca" else space, member=member)
