"""`embrm data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render, _rows
from embrm.cli._progress import is_watched

if TYPE_CHECKING:
    from embrm.core.data import Pairs
    from embrm.data.faults import RowRules

_folder = click.option(
    "--folder", metavar="FOLDER", help="Another folder with a world.yaml; default: the shipped data."
)


@click.group()
def command() -> None:
    """Say how files of yours are read; make or verify the data that come with the project."""


@command.command()
@_folder
@_options.seed
@_options.json_output
def build(folder: str | None, seed: int, as_json: bool) -> None:
    """Remake texts and vectors from world.yaml and a seed; takes minutes, as MiniLM embeds every text.

    Example:
      embrm data build --folder data
    """
    from pathlib import Path

    from embrm.core.data_folder import data_folder
    from embrm.world import build as data

    place = Path(folder) if folder else data_folder()
    manifest = data.build(place, seed=seed, progress=is_watched())
    lines = [f"{name}: {file['bytes'] / 1e6:.1f} MB" for name, file in manifest["files"].items()]
    _render.emit(manifest, "\n".join(lines), as_json=as_json)


@command.command()
@_folder
@click.option(
    "--sample",
    type=_options.whole(),
    default=64,
    show_default=True,
    help="Texts that each embedder embeds anew; 0: none.",
)
@_options.no_seed
@_options.json_output
def verify(folder: str | None, sample: int, as_json: bool) -> None:
    """Check the hashes, and that texts and a sample of vectors come out the same when they are made again.

    Example:
      embrm data verify --sample 0
    """
    from pathlib import Path

    from embrm.core.data_folder import data_folder
    from embrm.world import build as data

    done = data.verify(Path(folder) if folder else data_folder(), sample=sample)
    _render.emit({"checked": done}, "\n".join(done), as_json=as_json)


@command.command()
@click.option("--examples", is_flag=True, help="Show a row of each.")
@_options.no_seed
@_options.json_output
def layouts(examples: bool, as_json: bool) -> None:
    """List the layouts of files that commands read, told from their columns.

    Example:
      embrm data layouts --examples
    """
    import json

    from embrm.data import layouts as family

    found = {}
    for name in family.names():
        layout = family.get(name)()
        found[name] = {"": family.describe(name), "gives": ", ".join(layout.kinds), "examples": layout.example}
    rows = [[name, line["gives"], line[""]] for name, line in found.items()]
    text = _render.table(["layout", "gives", ""], rows)
    for name, line in found.items() if examples else ():
        shown = "\n".join(json.dumps(row, ensure_ascii=False) for row in line["examples"])
        text += f"\n\n{name}\n{shown}"
    _render.emit(found, text, as_json=as_json)


@command.command()
@click.argument("file", metavar="FILE")
@click.option("--kind", type=click.Choice(["pairs", "pools", "texts"]), help="As what to read it; told by the layout.")
@click.option("--embed", is_flag=True, help="Embed the texts, to count those that are cut and pairs that become equal.")
@_rows.options
@_options.embedding
@_options.no_seed
@_options.json_output
def check(
    file: str, kind: str | None, embed: bool, rules: RowRules, source: _options.SourceOptions, as_json: bool
) -> None:
    """Say how a file is read: its layout, what it holds, what is odd about it, and three rows as a head sees them.

    Rows that cannot be used are counted and named. Where --embed or --embedder is given texts are embedded, and the
    share of flipped labels is estimated from what a linear head says of held-out prompts.

    Example:
      embrm data check prefs.jsonl --embedder hashing
    """
    from embrm.data.check import check_file

    embedder = source.embedding()["embedder"] if embed or source.embedder else None
    found = check_file(file, kind=kind, rules=rules, embedder=embedder)
    lines = [f"{file}: read as {found.layout}, {found.kind}"]
    lines.append(_render.table(["", "count"], [[name.replace("_", " "), n] for name, n in found.counts.items()]))
    noise = None if found.pairs is None else _noise(found.pairs)
    lines += [] if noise is None else [noise["text"]]
    for number, row in enumerate(found.examples, start=1):
        names = ("chosen", "rejected") if found.kind == "pairs" else [f"response {j + 1}" for j in range(len(row))]
        lines += [f"\nrow {number}, {name}:\n{_short(text)}" for name, text in zip(names, row, strict=True)]
    told = {name: getattr(found, name) for name in ("layout", "kind", "counts", "examples")}
    _render.emit({"file": file, **told, "label_noise": noise}, "\n".join(lines), as_json=as_json)


def _noise(pairs: Pairs) -> dict[str, Any]:
    """Return the estimated share of flipped labels, or why there is none."""
    from embrm.errors import EmbrmError
    from embrm.evaluation.label_noise import ASSUMPTION, label_noise

    try:
        found = label_noise(pairs)
    except EmbrmError as error:  # a file that is too small or too odd for that can be looked at all the same
        return {"rate": None, "text": f"label noise is not estimated: {error}"}
    rate, low, high = (float(x) for x in (found.estimate, found.low, found.high))
    text = f"label noise: about {rate:.1%} of the labels are flipped, 95 % {low:.1%} … {high:.1%}; if {ASSUMPTION}"
    return {"rate": rate, "low": low, "high": high, "assumption": ASSUMPTION, "text": text}


def _short(text: str, most: int = 400) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"
