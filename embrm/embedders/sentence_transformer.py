"""Any sentence-transformers model."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from embrm.embedders._cache import recall, remember
from embrm.embedders._model import Model
from embrm.embedders._transformer import TransformerEmbedder
from embrm.errors import OptionError
from embrm.registry import register


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
        if not self.model:
            raise OptionError("sentence_transformer needs model=, an id on the hub or the path of a folder")
        if self._folder is not None and self.revision is not None:
            raise OptionError(f"model '{self.model}' is a folder and has no revision; leave it out")
        if self._folder is None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.model):
            raise OptionError(f"model '{self.model}' is neither a folder that exists nor an id on the hub")

    @property
    def _folder(self) -> Path | None:
        folder = Path(self.model).expanduser()
        return folder if folder.is_dir() else None

    def content(self) -> str:
        """Return the folder's digest, or the model's id and commit (asking the hub where it is not a full commit)."""
        if self._folder is not None:
            return f"sha256:{_digest(self._folder.resolve())}"
        if self.revision is not None and re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return f"{self.model}@{self.revision}"
        from huggingface_hub import hf_hub_download

        try:
            # The hub's own cache keeps a file under its commit: .../snapshots/<commit>/config.json
            config = hf_hub_download(self.model, "config.json", revision=self.revision)
        except OSError as e:
            raise self._unreachable() from e
        return f"{self.model}@{Path(config).parent.name}"

    def load(self, *, bfloat16: bool) -> Model:
        """Load from the folder or the hub.

        Raises:
            OptionError: there is no such model, or the hub cannot be reached.
        """
        try:
            return Model(
                self.model if self._folder is None else str(self._folder),
                revision=self.revision,
                backend=self.backend,
                bfloat16=bfloat16,
                prompt=self.prompt,
                max_length=self.max_length,
            )
        except OSError as e:
            raise self._unreachable() from e

    def _unreachable(self) -> OptionError:
        at = f" at revision '{self.revision}'" if self.revision else ""
        return OptionError(
            f"cannot load model '{self.model}'{at}; check the name and the network, or pass the path of a folder"
        )


def _digest(folder: Path) -> str:
    """Return the SHA-256 of all files of a folder; sizes and times say whether a remembered one still holds."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    stats = [(p.relative_to(folder).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    question = json.dumps(["digest", str(folder), stats])
    answer = recall(question)
    if answer is None:
        whole = hashlib.sha256()
        for path, (name, *_) in zip(files, stats, strict=True):
            with path.open("rb") as f:
                whole.update(f"{name}\0{hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode())
        answer = whole.hexdigest()
        remember(question, answer)
    return answer
