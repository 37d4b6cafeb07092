"""`embrm select`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("pools", metavar="POOLS")
@click.option("--selector", default="mean", show_default=True, metavar="NAME", help="See `embrm list selectors`.")
@_options.settings
@_options.to_rows
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    model: str,
    pools: str,
    selector: str,
    options: tuple[str, ...],
    output: str,
    source: _options.Source,
    seed: int,
    as_json: bool,
) -> None:
    """Choose one response for each prompt.

    POOLS has rows {id, prompt, responses[]}. Each line of the output is a prompt with its chosen response, the index of
    that in the pool, and the value that the selector compared.

    Example:
      embrm select model pools.jsonl --selector mean -o chosen.jsonl
    """
    from embrm import selectors
    from embrm.files import check_output
    from embrm.heads._saved import load_model
    from embrm.reading import as_candidates
    from embrm.texts import read_texts

    rule = _options.recipe(selectors.registry, selector, options)
    check_output(output)
    fitted = load_model(model)
    texts = read_texts(pools, kind="pools")
    data = as_candidates(texts, views=fitted.widths, **source.reading(fitted))
    choice = rule(fitted.score(data.features), offsets=data.offsets, seed=seed)
    rows = []
    for row in choice.index.tolist():
        name, index = texts.names[row]
        chosen = {"id": name, "prompt": texts.prompts[row], "response": texts.responses[row], "index": index}
        chosen["value"] = float(choice.value[row])
        if data.gold is not None:
            chosen["gold"] = float(data.gold[row])
        if data.policy is not None:
            chosen["policy"] = data.policy[row]
        rows.append(chosen)
    _render.emit_rows(rows, output, as_json=as_json)
