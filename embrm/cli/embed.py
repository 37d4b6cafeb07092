"""`embrm embed`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", metavar="FILE.npy", required=True, help="The file for the vectors.")
@click.option(
    "--view",
    type=click.Choice(["joint", "prompt", "response"]),
    default="joint",
    show_default=True,
    help="Which text to embed: the prompt, an empty line and the response; or one of the two.",
)
@_rows.options
@_options.embedding
@_options.no_seed
@_options.json_output
def command(file: str, output: str, view: str, source: _options.SourceOptions, rules: RowRules, as_json: bool) -> None:
    """Embed the texts of a file once; the vectors also serve as `--features` of other commands.

    FILE has pairs (prompt, chosen, rejected), pools (prompt, responses[]) or texts (prompt, response). The rows are in
    the order of the file: chosen, rejected of each pair; the responses of each pool.

    Example:
      embrm embed prefs.jsonl -o prefs.npy
    """
    import numpy as np

    from embrm.core.files import check_writable, write_file
    from embrm.data.encode import encode
    from embrm.data.texts import read_texts

    check_writable(output)
    texts = read_texts(file, rules=rules)
    done = encode(texts.prompts, texts.responses, views=(view,), **source.embedding())
    done.warn()
    vectors = done.features.matrix(view)
    with write_file(output) as part, part.open("wb") as stream:
        np.save(stream, vectors)
    (rows, width), truncated = vectors.shape, int(done.cut.sum())
    summary = {"output": output, "texts": rows, "width": width, "computed": done.computed, "truncated": truncated}
    text = f"{rows} texts × {width} → {output} ({done.computed} computed, {truncated} truncated)"
    _render.emit(summary, text, as_json=as_json)
