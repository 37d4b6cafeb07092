"""How the page's stage is set: the world on the spot or as shipped, or a saved model with its reference file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from embrm.data.faults import RowRules
from embrm.data.read import as_candidates
from embrm.data.texts import read_texts
from embrm.demo.stage import ModelStage, WorldStage
from embrm.embedders import Embedder
from embrm.embedders import registry as embedders
from embrm.embedders.static import packaged_files
from embrm.heads import FittedHead, load_model
from embrm.world import World, shipped
from embrm.world.fresh import FreshSize, draw_sample
from embrm.world.world_sample import WorldSample

SIZE = FreshSize(topics=24, stock=128, pool=64, stratum=16, refinements=2)
SLOW = ("minilm",)  # embedders whose vectors are shipped, as making them takes minutes


def of_world(embedder: Embedder | None = None, *, seed: int = 0) -> WorldStage:
    """Return the world's stage.

    Args:
        embedder: None takes `static` where its files are installed, else `hashing`.
        seed: of the texts, where they are made now.

    Raises:
        MissingExtraError: the embedder is not installed.
        DataError: the shipped data are damaged.
    """
    if embedder is None:
        embedder = embedders.get("hashing" if packaged_files() is None else "static")()
    return WorldStage(_sample(embedder, seed), embedder)


def _sample(embedder: Embedder, seed: int) -> WorldSample:
    name = embedders.find_name(embedder)
    if name in SLOW:
        return shipped.load(name)
    return draw_sample(World.load(), embedder, seed=seed, size=SIZE)


def of_model(
    model: str,
    reference: str,
    *,
    reading: Callable[[FittedHead], Mapping[str, Any]],
    of: Callable[[FittedHead], Embedder],
    rules: RowRules,
) -> ModelStage:
    """Return the stage of a saved model.

    Args:
        model: its folder.
        reference: a file of its reference texts.
        reading: model → how the file's texts become vectors, see `embrm.data.read`.
        of: model → what embeds the texts of the page.
        rules: how the file is read.

    Raises:
        OptionError: the model knows of no embedder.
        DataError: the file cannot be read, or its vectors are not those that the model reads.
    """
    fitted = load_model(model)
    embedder = of(fitted)
    texts = read_texts(reference, rules=rules)
    features = as_candidates(texts, views=list(fitted.widths), **reading(fitted)).features
    return ModelStage(Path(model).resolve().name, fitted, texts, features, embedder)
