"""What can become of a study's folder: bytes that flip, files that change places, and what others put there."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

STRANGE: tuple[Any, ...] = (None, [], {}, "", 0, -1, 1e400, "\x00", "../../etc", [[]], {"a": 1}, True, "9" * 400)


def cell(folder: Path, rng: random.Random) -> Path:
    """Return the file of one row."""
    return rng.choice(sorted(path for path in (folder / "cells").glob("*.npz") if path.is_file()))


def any_file(folder: Path, rng: random.Random) -> Path:
    """Return one file, not among the rows."""
    names = ("config.json", "timings.parquet", "results.parquet", "claims.json", "report.html", "log.txt", "lock.txt")
    return folder / rng.choice(names)


def flip(path: Path, rng: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    """Cut the end off."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def splice(path: Path, rng: random.Random) -> None:
    """Put a part of the file over another part of it."""
    content = bytearray(path.read_bytes())
    a, b, n = rng.randrange(len(content)), rng.randrange(len(content)), rng.randrange(1, 200)
    content[a : a + n] = content[b : b + n]
    path.write_bytes(content)


def swap(path: Path, rng: random.Random) -> None:
    """Let two rows change places."""
    folder = path.parent.parent if path.parent.name == "cells" else path.parent
    one, other = cell(folder, rng), cell(folder, rng)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def foreign(path: Path, rng: random.Random) -> None:
    """Put beside a file what does not belong there."""
    kind, name = (
        rng.choice(["file", "folder", "link", "pipe"]),
        rng.choice((".DS_Store", ".hidden", "notes.txt", "x.npz")),
    )
    place = path.parent / name
    if os.path.lexists(place):
        return
    if kind == "file":
        place.write_bytes(rng.randbytes(100))
    elif kind == "folder":
        place.mkdir()
        (place / "thesis.tex").write_text("years of work", encoding="utf-8")
    elif kind == "link":
        place.symlink_to(path.parent / "nowhere")
    else:
        os.mkfifo(place)


def replaced(path: Path, rng: random.Random) -> None:
    """Put something of another kind in a file's place."""
    path.unlink()
    kind = rng.choice(["nothing", "folder", "link", "pipe", "device"])
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(path.parent / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")


def misfit(path: Path, rng: random.Random) -> None:
    """Put something of another type somewhere into config.json."""
    path = path.parent.parent / "config.json" if path.parent.name == "cells" else path.parent / "config.json"
    if path.is_symlink() or not path.is_file():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return
    place = stored
    while isinstance(place, dict | list) and place:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        if rng.random() < 0.4 or not isinstance(place[key], dict | list) or not place[key]:
            place[key] = rng.choice(STRANGE)
            break
        place = place[key]
    path.write_text(json.dumps(stored), encoding="utf-8")


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (flip, cut, splice, swap, foreign, replaced, misfit)


def damage(folder: Path, number: int) -> str:
    """Damage a study's folder in the way of that number, and say how; half of the times it is a row."""
    rng = random.Random(number)
    path = (cell if number // len(DAMAGES) % 2 else any_file)(folder, rng)
    do = DAMAGES[number % len(DAMAGES)]
    if path.exists():
        do(path, rng)
    return f"{do.__name__} {path.name}"
