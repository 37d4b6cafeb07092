"""Texts → features: the one way, for files, trainers, servers, the world and studies alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Features
from embrm.core.recipe import changed
from embrm.core.seen import TextHashes
from embrm.core.views import PRINCIPLE, needed
from embrm.embedders import Embedder, provenance_of
from embrm.errors import DataError, OptionError
from embrm.heads import FittedHead

VIEWS: dict[str, Callable[[str, str], str]] = {
    "joint": lambda prompt, response: f"{prompt}\n\n{response}" if prompt else response,
    "prompt": lambda prompt, response: prompt,
    "response": lambda prompt, response: response,
}


class TruncationWarning(UserWarning):
    """Some texts were longer than the embedder reads, so that their ends were not seen."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Texts as features, and what happened to them on the way.

    Attributes:
        features: `n` rows in the order of the texts, with the length of each response.
        cut: `(n,)` True where one of a text's views was longer than the embedder reads.
        computed: how many distinct texts the embedder had to embed; the rest came from its cache or were repeats.
    """

    features: Features
    cut: BoolArray
    computed: int

    def warn(self, *, stacklevel: int = 2) -> None:
        """Warn where texts were cut."""
        if self.cut.any():
            warnings.warn(
                f"{int(self.cut.sum())} of {len(self.cut)} texts are longer than the embedder reads; their ends were "
                "not seen",
                TruncationWarning,
                stacklevel=stacklevel + 1,
            )


def encode(
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    embedder: Embedder,
    views: Iterable[str] = ("joint",),
    principles: Sequence[str] | None = None,
    prompt: npt.ArrayLike | None = None,
    keep_system: bool = False,
    progress: bool = False,
) -> Encoded:
    """Embed responses to prompts under one or more views.

    Args:
        prompts: `n` texts, `""` where there is none.
        responses: `n` texts.
        embedder: what embeds them.
        views: what will be read: "joint" (the prompt, an empty line, the response, unless the embedder joins them in a
            way of its own), "prompt", "response", "crossed" (the latter two), or several side by side with the length
            or the principle, as in "joint+response+length" or "joint+principle". The vectors that they are made of are
            made, each once, and no others.
        principles: `n` texts, what each response is to be judged by; None where nothing that is read needs them.
        prompt: `(n,)` the number of each text's prompt; None numbers them, see `prompt_numbers`.
        keep_system: whether system turns stayed in the prompts, for the head to remember.
        progress: whether to show a progress bar.

    Raises:
        DataError: there are not as many prompts as responses, or none, or one is no text; or a text has no principle
            where one is read.
        OptionError: there is no such view of a text.
    """
    if len(prompts) != len(responses):
        raise DataError(f"every response needs its prompt, got {len(prompts)} prompts for {len(responses)} responses")
    matrices: dict[str, Array] = {}
    cut, computed = np.zeros(len(responses), dtype=bool), 0
    for view in needed(views):
        if view == PRINCIPLE:
            texts = _given_principles(principles, len(responses))
        else:
            write = view_text(view, embedder=embedder)
            texts = [write(asked, said) for asked, said in zip(prompts, responses, strict=True)]
        done = embedder.embed(texts, progress=progress)
        matrices[view] = done.vectors
        cut |= done.cut
        computed += done.computed
    numbers = prompt_numbers(prompts) if prompt is None else np.asarray(prompt)
    length = np.array([len(response) for response in responses], dtype=np.float64)
    made = replace(provenance_of(embedder), keep_system=keep_system)
    hashes = TextHashes.of(prompts, responses)
    return Encoded(Features(matrices, numbers, length=length, embedder=made, hashes=hashes), cut, computed)


def embedder_of(model: FittedHead, options: Mapping[str, Any] | None = None) -> Embedder:
    """Return the embedder of the texts that a model was fitted on, whether it was saved and loaded since or not.

    Args:
        model: the model.
        options: of the embedder, to be changed.

    Raises:
        DataError: the model was loaded, and its record names a folder: whoever wrote a file does not choose what is
            loaded from this machine. The folder is one of the options, or the embedder is given, where it is trusted.
        OptionError: the model was fitted on vectors made elsewhere, and knows of no embedder.
        UnknownNameError: the embedder was of a package that is not installed.
    """
    if model.embedder.recipe is None:
        raise OptionError(
            "the model does not say what embedded its training texts, as it was fitted on vectors made elsewhere; "
            "give such vectors with --features, or name their embedder (--embedder, or embedder=... in Python)"
        )
    recorded = Embedder.of(model.embedder.recipe)
    made = changed(recorded, options or {})
    if model.embedder.saved and recorded.folder is not None and "model" not in (options or {}):
        name = model.embedder.recipe["name"]
        raise DataError(
            f"the saved model's record names the folder '{recorded.folder}' for its embedder, and no path that a file "
            f"names is followed; if you trust that folder, name it yourself: --embedder {name} --embedder-set "
            f"model={recorded.folder} (embedder=... in Python)"
        )
    return made


def _given_principles(principles: Sequence[str] | None, n: int) -> list[str]:
    """Return the principle of each text, or raise DataError where one has none."""
    found = [""] * n if principles is None else list(principles)
    if len(found) != n:
        raise DataError(f"every response needs its principle, got {len(found)} principles for {n} responses")
    if missing := found.count(""):
        raise DataError(
            f"{missing} of {n} texts have no principle, and one is read; give the file a column '{PRINCIPLE}', or "
            "judge all by one: embrm.under(model, TEXT), --principle TEXT"
        )
    return found


def under(model: FittedHead, principle: str, *, embedder: Embedder | None = None) -> FittedHead:
    """Return the reward under a principle in words, such as "Do not flatter the reader.": a model as any other.

    It is of the texts without a principle, so that it scores, selects, is optimised against and saved as any model of
    them. A warning says where the principle is unlike all that the model was trained under; see `FittedHead.under`.

    Args:
        model: of a head that reads a principle, as with `view="joint+principle"`.
        principle: the text.
        embedder: of the model's training texts; None takes the one that the model names.

    Raises:
        DataError: the principle is empty.
        OptionError: the model reads no principle, is of a head that takes in none, or knows of no embedder.
    """
    if not principle.strip():
        raise DataError("the principle is empty; say what a response is to be judged by")
    made = embedder_of(model) if embedder is None else embedder
    found = model.under(made.embed([principle]).vectors[0])
    return replace(found, record={**found.record, "under": {"principle": principle, **found.record["under"]}})


def prompt_numbers(prompts: Sequence[str]) -> IntArray:
    """Return the number of each text's prompt `(n,)`: equal prompts have one, and texts without a prompt one each."""
    number: dict[object, int] = {}
    keys = (prompt or i for i, prompt in enumerate(prompts))
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)


def view_text(view: str, *, embedder: Embedder) -> Callable[[str, str], str]:
    """Return `(prompt, response) -> text` of a view; an embedder may have a `joint` of its own, as chat models do.

    Raises:
        OptionError: there is no such view of a text.
    """
    check_views((view,))
    own: Callable[[str, str], str] = getattr(embedder, "joint", VIEWS[view]) if view == "joint" else VIEWS[view]
    return own


def check_views(views: Iterable[str]) -> None:
    """Raise OptionError, naming the views that texts have, where one of these is none of them."""
    for view in needed(views):
        if view not in (*VIEWS, PRINCIPLE):
            raise OptionError(
                f"no view '{view}'; texts can be embedded as {', '.join(VIEWS)}, and read side by side with their "
                "length or a principle, as joint+response+length, joint+principle"
            )
