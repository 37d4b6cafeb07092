"""What a checkpoint's weights are, said without loading them: part of an embedder's identity."""

from __future__ import annotations

import hashlib
import json

from embrm.embedders.cache.store import recall, remember
from embrm.lm.checkpoint import Checkpoint


def content_of(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of all files of a folder, or the id and the commit of a model of the hub.

    Sizes and times of the files say whether a remembered digest still holds.

    Raises:
        OptionError: the hub cannot be reached, or has no such model.
        CacheError: what was found out cannot be remembered.
    """
    folder = checkpoint.folder
    if folder is None:
        return checkpoint.commit()
    stamps = checkpoint.stamps()
    question = json.dumps(["digest", str(folder), stamps])
    answer = recall(question)
    if answer is None:
        whole = hashlib.sha256()
        for name, *_ in stamps:
            with (folder / name).open("rb") as f:
                whole.update(f"{name}\0{hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode())
        answer = whole.hexdigest()
        remember(question, answer)
    return f"sha256:{answer}"
