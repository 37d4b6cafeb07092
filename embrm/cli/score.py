"""`embrm score`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from embrm.cli import _options, _render, _rows

if TYPE_CHECKING:
    from embrm.data.faults import RowRules


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="FILE")
@click.option(
    "--no-draws", is_flag=True, help="Leave out each member's reward: smaller, but rules over members need it."
)
@_options.principle
@_options.to_rows
@_rows.options
@_rows.stream
@_options.on_texts
@_options.no_seed
@_options.json_output
def command(
    model: str,
    file: str,
    no_draws: bool,
    principle: str | None,
    output: str,
    source: _options.SourceOptions,
    rules: RowRules,
    stream: bool,
    as_json: bool,
) -> None:
    """Score texts: the mean reward over the members of a model, their disagreement, and each member's reward.

    FILE has pairs, pools or texts. Each line of the output is a text: the id (or number) of its row, its index in the
    row, `score` (0 is the mean of the training texts), `sd`, the standard deviation over members, and `draws`, the
    rewards of members or posterior draws. `embrm select` and `embrm curve` take the file in place of a model.

    A model whose view has a principle in it reads that of a column `principle`, or scores all texts under one that is
    given with --principle.

    Example:
      embrm score model pools.jsonl -o scores.jsonl
    """
    from embrm.core.files import check_output
    from embrm.data.stream import stream_texts
    from embrm.data.texts import read_texts
    from embrm.errors import OptionError
    from embrm.evaluation.scorer import Scorer, score_rows

    check_output(output)
    if stream and source.features is not None:
        raise OptionError("--stream embeds a file in blocks, and --features are of a whole file; give one of both")
    scorer = Scorer(model, _options.open_model(model, principle, source), source.reading)
    how = scorer.rules(rules)
    blocks = stream_texts(file, rules=how) if stream else [read_texts(file, rules=how)]
    rows = (row for texts in blocks for row in score_rows(texts, scorer.reward(texts), draws=not no_draws))
    _render.emit_rows(rows, output, as_json=as_json)
