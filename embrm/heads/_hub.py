"""Saved models on the Hugging Face hub: the folder that `save` writes, its card included, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from embrm.errors import DataError
from embrm.heads._manifest import MANIFEST, READ

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
FILES = [MANIFEST, *READ, CARD]


def fetch(
    repo_id: str, *, revision: str | None, cache_dir: str | Path | None, local_files_only: bool, api: HfApi | None
) -> Path:
    """Return the local folder of a model of the hub; see `embrm.heads.from_pretrained`."""
    client = _client(api)
    try:
        folder = client.snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=FILES,
        )
    except Exception as error:  # of the hub's client or the HTTP library under it, which changes with its version
        raise DataError(
            f"{repo_id} cannot be had from the hub: {_first_line(error)}; check the name and the network, log in with "
            "`hf auth login` where it is private, or pass the folder of a saved model to embrm.load_model"
        ) from error
    return Path(str(folder))


def push(
    save: Callable[[Path], None],
    repo_id: str,
    *,
    private: bool | None = None,
    license: str | None = None,  # noqa: A002 - the name that model cards have for it
    message: str | None = None,
    api: HfApi | None = None,
) -> str:
    """Upload the folder that `save` writes; see `FittedHead.push_to_hub`."""
    client = _client(api)
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "model"
        save(folder)
        try:
            client.create_repo(repo_id, private=private, exist_ok=True)
            _complete_card(folder / CARD, repo_id, client, license=license)
            commit = client.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=message or "Upload a reward head of embrm"
            )
        except Exception as error:  # see fetch
            raise DataError(
                f"the model cannot be uploaded to {repo_id}: {_first_line(error)}; check the name (owner/name) and the "
                "network, and log in with `hf auth login`"
            ) from error
    return str(commit.commit_url)


def _complete_card(card: Path, repo_id: str, client: HfApi, *, license: str | None) -> None:  # noqa: A002
    """Say in the card how to load the model, and keep what its owner has set in the metadata on the hub."""
    from huggingface_hub import ModelCard

    text = card.read_text(encoding="utf-8").replace(
        'embrm.load_model("this-folder")', f'embrm.heads.from_pretrained("{repo_id}")'
    )
    new = ModelCard(text)
    if client.file_exists(repo_id, CARD):
        old = ModelCard(Path(client.hf_hub_download(repo_id, CARD)).read_text(encoding="utf-8"))
        for key, value in vars(old.data).items():
            if new.data.get(key) is None:
                new.data[key] = value
    if license is not None:
        new.data["license"] = license
    card.write_text(str(new), encoding="utf-8")


def _client(api: HfApi | None) -> HfApi:
    from huggingface_hub import HfApi

    from embrm.core.version import __version__

    return HfApi(library_name="embrm", library_version=__version__) if api is None else api


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
