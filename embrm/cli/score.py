"""`embrm score`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="FILE")
@_options.to_rows
@_options.on_texts
@_options.no_seed
@_options.json_output
def command(model: str, file: str, output: str, source: _options.Source, as_json: bool) -> None:
    """Score texts: the mean reward over the members of a model, and their disagreement.

    FILE has pairs, pools or texts. Each line of the output is a text: the id (or number) of its row, its index in the
    row, `score` (0 is the mean of the training texts) and `sd`, the standard deviation over members.

    Example:
      embrm score model pools.jsonl -o scores.jsonl
    """
    from embrm.files import check_output
    from embrm.heads._saved import load_model
    from embrm.reading import as_candidates
    from embrm.texts import read_texts

    check_output(output)
    fitted = load_model(model)
    texts = read_texts(file)
    data = as_candidates(texts, views=fitted.widths, **source.reading(fitted))
    reward = fitted.score(data.features).centred()
    rows = [
        {"id": name, "index": index, "score": score, "sd": sd}
        for (name, index), score, sd in zip(texts.names, reward.mean.tolist(), reward.sd.tolist(), strict=True)
    ]
    _render.emit_rows(rows, output, as_json=as_json)
