"""`embrm demo`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render, _rows
from embrm.cli._token import read_token

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--reference", metavar="FILE", help="Reference texts of MODEL: pairs, pools or texts.")
@click.option("--static", metavar="FILE", help="Write the page as one file that needs no server, and stop.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; any other needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes any free one.")
@click.option("--token-file", metavar="FILE", help="A password that browsers must give; else EMBRM_TOKEN, where set.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A further name that browsers may use.")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@_rows.options
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    model: str | None,
    reference: str | None,
    static: str | None,
    host: str,
    port: int,
    token_file: str | None,
    hosts: tuple[str, ...],
    show: bool,
    rules: RowRules,
    source: _options.SourceOptions,
    seed: int,
    as_json: bool,
) -> None:
    """Show a live page: edit a response, see rewards and detectors move, and optimise against a head.

    Without MODEL the page is about the simulated world, where the true quality is known; with MODEL and --reference it
    is about a model of your own, beside its reference texts. It listens on this machine alone and asks no other
    for anything. In the world the embedder is static where it is installed, else hashing.

    Examples:
      embrm demo
      embrm demo --embedder minilm
      embrm demo model --reference prefs.jsonl
      embrm demo --static page.html
    """
    from embrm.errors import OptionError
    from embrm.serving import check_extra

    if (model is None) != (reference is None):
        raise OptionError("a model of your own and its reference belong together; give MODEL and --reference FILE")
    if static is not None:
        if model is not None or source.embedder is not None:
            raise OptionError("--static writes the page of the world with the embedder hashing; leave MODEL and it out")
        return _write(static, seed=seed, as_json=as_json)
    check_extra("embrm demo")
    from embrm.demo import stages
    from embrm.demo.app import DemoApp
    from embrm.serving.server import HttpServer

    app = DemoApp()
    with HttpServer(app.guarded, host=host, port=port, token=read_token(token_file), hosts=hosts) as server:
        if model is None or reference is None:
            app.stage = stages.of_world(None if source.embedder is None else source.embedder_of(), seed=seed)
        else:
            app.stage = stages.of_model(model, reference, reading=source.reading, of=source.embedder_of, rules=rules)
        with server.running() as address:
            _render.emit({"address": address}, f"the page is at {address} (Ctrl-C ends it)", as_json=as_json)
            if show:
                click.launch(address)
            threading.Event().wait()  # until a signal interrupts it
    return None


def _write(path: str, *, seed: int, as_json: bool) -> None:
    from embrm.core.files import check_output
    from embrm.demo.static_page import write_page

    check_output(path)
    write_page(path, seed=seed)
    _render.emit({"output": path}, f"the page is in {path}", as_json=as_json)
