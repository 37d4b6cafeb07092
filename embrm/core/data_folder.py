"""Where the shipped data lie: in the checkout, or in the wheel."""

from __future__ import annotations

from pathlib import Path

from embrm.errors import DataError


def data_folder() -> Path:
    """Return the folder of the shipped data: inside the installed package, or beside it in a checkout.

    Raises:
        DataError: there is none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_shipped", package.parent / "data"):
        if (folder / "world.yaml").exists():
            return folder
    raise DataError(f"no world.yaml in {package / '_shipped'} or {package.parent / 'data'}; reinstall embrm")
