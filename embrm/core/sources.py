"""Where rows come from besides one file: folders and patterns of shards, saved data sets, addresses, the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from embrm.core.bounds import ROWS
from embrm.core.documents import read_most, translated
from embrm.core.parsed import Parsed
from embrm.errors import DataError, MissingExtraError

_hub_id = re.compile(r"[\w.-]+/[\w.-]+(:([\w.-]+/)?[\w.-]+(\[[\d:%-]*\])?)?")
_part = re.compile(r"(.+?):((?:[\w.-]+/)?[\w.-]+(?:\[[\d:%-]*\])?)")
_shard = re.compile(r"\.(jsonl?|ndjson|csv|tsv|parquet|arrow|feather)(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)
_splits = ("train", "test", "validation", "valid", "val", "dev", "eval")


def find_shards(source: str) -> list[Path]:
    """Return the files of a folder (or of its only sub-folder `data`), or those that a pattern matches, sorted.

    Raises:
        DataError: there are none, or a folder holds several kinds of files or several splits.
    """
    if not Path(source).is_dir():
        pattern = Path(source)
        found = sorted(f for f in Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))) if f.is_file())
        if not found:
            raise DataError(f"no file matches {source}")
        return found
    folder = Path(source)
    found = sorted(f for f in folder.iterdir() if f.is_file() and _shard.search(f.name) and f.name[0] not in "._")
    if not found and (folder / "data").is_dir():
        return find_shards(str(folder / "data"))
    kinds = {match[0].lower() for f in found if (match := _shard.search(f.name))}
    splits = {word for f in found for word in _splits if re.match(rf"{word}(?![a-z])", f.name.lower())}
    for several, what in ((kinds, "kinds of files"), (splits, "splits")):
        if len(several) > 1:
            raise DataError(
                f"{source} is a folder; expected one kind of files and one split in it, found several {what} "
                f"({', '.join(sorted(several))}); give a pattern such as '{folder / found[0].name[:5]}*'"
            )
    if not found:
        raise DataError(
            f"{source} is a folder; expected files of rows in it (JSON Lines, JSON, CSV, Parquet, Arrow), or for a "
            f"copy of a hub dataset {source}:split or {source}:configuration/split"
        )
    return found


def fetch(address: str) -> bytes:
    """Return the bytes behind an address that fsspec opens, such as `https://…`, `s3://…` or `zip://a.csv::b.zip`.

    Raises:
        DataError: it cannot be opened, or has more bytes than are read.
    """

    def read() -> bytes:
        import fsspec

        with fsspec.open(address, "rb") as stream:
            return bytes(read_most(stream, address))

    return translated(read, name=address, why="cannot be read")  # among others its package is not installed


def is_saved_dataset(folder: str) -> bool:
    """Say whether `datasets` wrote the folder by `save_to_disk`."""
    return any((Path(folder) / name).exists() for name in ("dataset_dict.json", "state.json"))


def from_disk(folder: str) -> Parsed:
    """Return the rows of a data set saved by `save_to_disk`; of several splits `train` is taken, or the only one.

    Raises:
        DataError: it cannot be loaded, or has several splits and none is `train`; each is a folder of its own.
        MissingExtraError: `datasets` is not installed.
    """
    datasets = _datasets(f"{folder} was written by datasets.save_to_disk")
    found = translated(lambda: datasets.load_from_disk(folder), name=folder, why="cannot be loaded by datasets")
    if hasattr(found, "keys"):
        names = sorted(found)
        if len(names) > 1 and "train" not in names:
            raise DataError(f"{folder} has the splits {', '.join(names)}; give one of them: {folder}/{names[0]}")
        found = found["train" if "train" in names else names[0]]
    return translated(lambda: _numbered(found, folder), name=folder, why="cannot be loaded by datasets")


def is_hub_dataset(source: str) -> bool:
    """Say whether the source can be the id of a hub data set, or a part of a folder's, and no mistyped path."""
    name = source.partition(":")[0]
    if _split_of(source):  # a copy of a hub data set
        return True
    return bool(_hub_id.fullmatch(source)) and not _shard.search(name) and not Path(name).parent.exists()


def _split_of(source: str) -> tuple[str, str] | None:
    """Return a folder, and the configuration and split in it that are asked for."""
    match = _part.fullmatch(source)
    asked = match is not None and Path(match[1]).is_dir() and not Path(source).exists()
    return (match[1], match[2]) if match is not None and asked else None


def from_hub(source: str) -> Parsed:
    """Return the rows of a hub data set, `owner/name`, `owner/name:split` or `owner/name:configuration/split`.

    A folder in place of `owner/name` is a copy of such a data set, whose card may name configurations. A split may be a
    slice, `train[:1000]` or `test[10%:20%]`.

    Raises:
        DataError: it cannot be loaded; where a configuration must be chosen, the message of `datasets` lists them.
        MissingExtraError: `datasets` is not installed.
    """
    datasets = _datasets(f"there is no file {source}; to read it as a hub dataset")
    name, rest = _split_of(source) or source.partition(":")[::2]
    configuration, _, split = rest.rpartition("/")
    try:
        return _numbered(datasets.load_dataset(name, configuration or None, split=split or "train"), source)
    except DataError:
        raise
    except Exception as error:  # of datasets, of the hub's client, or of what the files are read by
        raise DataError(
            f"{source} is neither a file nor a hub dataset that can be loaded: {error}. "
            "A configuration and a split are chosen by owner/name:configuration/split"
        ) from error


def _datasets(why: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(f"{why}: pip install 'embrm[hub]'") from error
    return datasets


def _numbered(found: Any, name: str) -> Parsed:
    """Return the rows of a data set of `datasets`."""
    ROWS.check(found.num_rows, name)
    out = Parsed("row", name)
    for number, value in enumerate(found.to_list(), start=1):
        out.add(value, number)
    return out
