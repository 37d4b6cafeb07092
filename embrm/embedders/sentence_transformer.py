"""Any sentence-transformers model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embrm.core.registry import register
from embrm.embedders._content import content_of
from embrm.embedders._fastest import Way
from embrm.embedders._model import Model
from embrm.embedders._transformer import TransformerEmbedder
from embrm.errors import MissingExtraError
from embrm.lm.checkpoint import Checkpoint


@register
@dataclass(frozen=True)
class SentenceTransformerEmbedder(TransformerEmbedder):
    """Any sentence-transformers model, by its id on the Hugging Face hub or the path of its folder.

    The other options are those of `TransformerEmbedder`. A folder is known to the cache by the content of its files, a
    model of the hub by its commit.

    Attributes:
        model: "BAAI/bge-small-en-v1.5", "./my-model", …
        revision: branch, tag or commit on the hub; a full commit needs no network once the model is there.
    """

    model: str = ""
    revision: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._checkpoint  # noqa: B018 - checked when made

    @property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.model, self.revision)

    @property
    def folder(self) -> Path | None:
        """The model's folder, or None for a model of the hub."""
        return self._checkpoint.folder

    def content(self) -> str:
        """Return the folder's digest, or the model's id and commit (asking the hub where it is not a full commit)."""
        return content_of(self._checkpoint)

    def load(self, way: Way) -> Model:
        """Load from the folder or the hub.

        Raises:
            OptionError: there is no such model, or the hub cannot be reached.
            MissingExtraError: the backend is not installed.
        """
        folder = self._checkpoint.folder
        self._checkpoint.require()
        try:
            return Model(
                self.model if folder is None else str(folder),
                revision=self.revision,
                backend=way.backend,
                bfloat16=way.precision == "bfloat16",
                prompt=self.prompt,
                max_length=self.max_length,
            )
        except MissingExtraError:
            raise
        except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
            # Among them a module of the model's own, which is code that is never run.
            raise self._checkpoint.unreachable(error) from error
