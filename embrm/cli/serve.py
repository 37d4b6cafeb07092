"""`embrm serve`."""

from __future__ import annotations

import threading

import click

from embrm.cli import _options, _render
from embrm.cli._token import read_token


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; any other needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0 takes any free one.")
@click.option("--token-file", metavar="FILE", help="The token that requests must bring; else EMBRM_TOKEN, where set.")
@click.option("--selector", default="mean", show_default=True, metavar="NAME", help="What the reward is of each text.")
@_options.settings
@click.option(
    "--keep-system-turns/--drop-system-turns",
    default=None,
    help="Whether system turns stay in prompts; as in the model's training texts unless said.",
)
@click.option("--max-texts", type=click.IntRange(1), default=1024, show_default=True, help="Texts of a request.")
@click.option("--max-bytes", type=click.IntRange(1), default=16 << 20, show_default=True, help="Bytes of a request.")
@click.option(
    "--max-total-bytes",
    type=click.IntRange(1),
    default=128 << 20,
    show_default=True,
    help="Bytes of all requests that are read or answered at one time; who comes too many is told to ask again later.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A further name that requests may call this server by, such as a node's.",
)
@click.option("--audit-log", metavar="FILE", help="A line for each request: when, who, what, its end; no texts.")
@_options.embedding
@_options.no_seed
@_options.json_output
def command(
    model: str,
    host: str,
    port: int,
    token_file: str | None,
    selector: str,
    options: tuple[str, ...],
    keep_system_turns: bool | None,
    max_texts: int,
    max_bytes: int,
    max_total_bytes: int,
    hosts: tuple[str, ...],
    audit_log: str | None,
    source: _options.SourceOptions,
    as_json: bool,
) -> None:
    """Answer POST /get_reward with the rewards of a model, until Ctrl-C or SIGTERM.

    OpenRLHF sends {"query": [...], "prompts": [...]}, slime {"prompt", "response", "label"}; chat-template tokens are
    stripped. A sample that cannot be scored gets null and a reason, and the others their rewards. The address that is
    printed is OpenRLHF's --reward.remote_url and slime's --rm-url; with a token http://user:TOKEN@HOST:PORT/get_reward.
    The token comes from a file or the environment, never from the command line, which others on the machine can read.
    GET /health tells that the server is up, GET /metrics what it has done, for Prometheus.

    Example:
      embrm serve model --port 5000 --selector worst_case
    """
    from embrm import selectors
    from embrm.heads import load_model
    from embrm.integrations.openrlhf import ServerLimits, reward_server
    from embrm.serving import check_extra

    check_extra("embrm serve")

    rule = _options.recipe(selectors.registry, selector, options)
    fitted = load_model(model)
    server = reward_server(
        model,
        host=host,
        port=port,
        token=read_token(token_file),
        limits=ServerLimits(max_texts, max_bytes, hosts, audit_log, max_total_bytes),
        embedder=source.embedder_of(fitted),
        rule=rule,
        keep_system=keep_system_turns,
    )
    with server.running() as address:
        _render.emit({"address": address, "model": model}, f"rewards of {model} at {address}", as_json=as_json)
        threading.Event().wait()  # until a signal interrupts it
