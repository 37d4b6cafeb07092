"""What a saved model is made of: the files that are read of it, with their sizes and digests in manifest.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embrm.core.bounds import BYTES, DOCUMENT
from embrm.core.documents import open_file, read_json
from embrm.errors import DataError

MANIFEST = "manifest.json"
CONFIG, TENSORS, PROBE = "config.json", "model.safetensors", "probe.json"
READ = (CONFIG, TENSORS, PROBE)  # the card is for people, who may complete it: nothing reads it


class _Digest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    files: dict[str, _Digest]


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """Return the content of manifest.json for files by their names."""
    about = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    return json.dumps({"files": about}, indent=2).encode()


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a saved model by name, as its manifest knows them.

    Names are those of `READ` alone, and no link leads out of the folder, but from a snapshot of the hub's cache to the
    blobs beside it.

    Raises:
        DataError: a file is absent, a link, not of the size that the manifest says, or another than was saved.
    """
    place = _within(folder, MANIFEST)
    try:
        known = _Manifest.model_validate(read_json(place)).files
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{place} is no manifest of a saved model: {where}: {first['msg']}; save it again") from error
    if set(known) != set(READ):
        raise DataError(
            f"{place} must tell of {', '.join(READ)} alone, and tells of {', '.join(map(ascii, known))}; save it again"
        )
    return {name: _read(_within(folder, name), known[name]) for name in READ}


def _read(path: Path, known: _Digest) -> bytes:
    changed = f"{path} is not the file that was saved"
    with open_file(path, most=BYTES if path.name == TENSORS else DOCUMENT) as stream:
        data = stream.read(known.bytes + 1)
    if len(data) != known.bytes:
        raise DataError(f"{changed} (it has not the {known.bytes} bytes of {MANIFEST}); save it again")
    if hashlib.sha256(data).hexdigest() != known.sha256:
        raise DataError(f"{changed} (its SHA-256 differs); save it again")
    return data


def _within(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder, which no link leads out of."""
    path, home = folder / name, folder.resolve()
    if not path.exists():
        raise DataError(f"{folder} is not a saved model: there is no {name}; save it again")
    if path.is_symlink():
        target = path.resolve()
        blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
        if target.parent not in (home, blobs):
            raise DataError(f"{path} is a link out of the model's folder, which is not followed; copy the file there")
    return path
