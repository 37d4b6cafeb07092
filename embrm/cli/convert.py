"""`embrm convert`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("file", metavar="IN")
@click.argument("output", metavar="OUT")
@click.option(
    "--to",
    type=click.Choice(["pairs", "pools"]),
    help="TRL's columns, or pools with gold; unless given pairs, where the layout has such.",
)
@click.option(
    "--pairs",
    "compare",
    type=click.Choice(["all", "best", "adjacent"]),
    default="all",
    show_default=True,
    help="Of rated or ranked responses: all with each other, the best with all others, or each with the next worse.",
)
@click.option(
    "--min-gap",
    type=_options.Number(),
    default=0.0,
    show_default=True,
    help="Ratings that differ by no more than this are a tie.",
)
@click.option("--ties", type=click.Choice(["keep", "drop"]), default="keep", show_default=True, help="Equal ones.")
@click.option("--margins/--no-margins", default=True, show_default=True, help="Write the gap of ratings as the margin.")
@_rows.options
@_rows.stream
@_options.no_seed
@_options.json_output
def command(
    file: str,
    output: str,
    to: str | None,
    compare: Literal["all", "best", "adjacent"],
    min_gap: float,
    ties: str,
    margins: bool,
    rules: RowRules,
    stream: bool,
    as_json: bool,
) -> None:
    """Write preferences of any layout as TRL's columns or as pools.

    IN is whatever `embrm fit` reads; `embrm data layouts` lists the layouts. OUT ends in .parquet, or is JSON Lines
    (- is standard output). Texts are written as heads see them: the prompt once, thinking and system turns left out. Of
    several ratings, `--columns rating=helpfulness` chooses one.

    Examples:
      embrm convert prefs.jsonl converted.parquet
      embrm convert pools.jsonl - --to pools
    """
    from embrm.core.files import check_output
    from embrm.data.faults import GAP
    from embrm.data.stream import stream_texts
    from embrm.data.texts import read_texts
    from embrm.data.write import common_rows, write_any
    from embrm.errors import OptionError

    check_output(output)
    if not min_gap >= 0:
        raise OptionError(f"--min-gap must be >= 0, got {min_gap}")
    columns = {"margin": GAP, **rules.columns} if margins else rules.columns
    rules = dataclasses.replace(rules, columns=columns, compare=compare, least_gap=min_gap)
    if stream and output.endswith(".parquet"):
        raise OptionError("--stream writes JSON Lines, row after row; give a name that does not end in .parquet")
    read: dict[str, Any] = {"kind": None, "written": 0, "dropped_ties": 0}
    wanted = to or "compared"
    blocks = stream_texts(file, kind=wanted, rules=rules) if stream else [read_texts(file, kind=wanted, rules=rules)]

    def kept() -> Iterator[dict[str, Any]]:
        for texts in blocks:
            read["kind"] = texts.kind
            for name, value in texts.account.items():
                read[name] = read.get(name, 0) + value if isinstance(value, int) else value
            for row in common_rows(texts):
                dropped = ties == "drop" and bool(row.get("tie"))
                read["dropped_ties" if dropped else "written"] += 1
                if not dropped:
                    yield row

    write_any(output, kept() if stream else list(kept()))
    if output != "-" or as_json:
        lost = ", ".join(f"{name}: {n}" for name, n in read.items() if name not in ("kind", "written", "dropped_ties"))
        summary = f"{read['written']} {read['kind']} → {output} ({lost})"
        _render.emit({"output": output, **read}, summary, as_json=as_json)
