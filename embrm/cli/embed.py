"""`embrm embed`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


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
@_options.embedding
@_options.no_seed
@_options.json_output
def command(file: str, output: str, view: str, source: _options.Source, as_json: bool) -> None:
    """Embed the texts of a file once; the vectors also serve as `--features` of other commands.

    FILE has pairs (prompt, chosen, rejected), pools (prompt, responses[]) or texts (prompt, response). The rows are in
    the order of the file: chosen, rejected of each pair; the responses of each pool.

    Example:
      embrm embed prefs.jsonl -o prefs.npy
    """
    import numpy as np

    from embrm.files import check_writable, write_file
    from embrm.reading import embed_texts
    from embrm.texts import read_texts

    check_writable(output)
    texts = read_texts(file)
    done = embed_texts(texts, view=view, **source.embedding())
    with write_file(output) as part, part.open("wb") as stream:
        np.save(stream, done.vectors)
    rows, width = done.vectors.shape
    summary = {"output": output, "texts": rows, "width": width, "computed": done.computed, "truncated": done.truncated}
    text = f"{rows} texts × {width} → {output} ({done.computed} computed, {done.truncated} truncated)"
    _render.emit(summary, text, as_json=as_json)
