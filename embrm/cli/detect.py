"""`embrm detect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render

if TYPE_CHECKING:
    from embrm.monitoring.watch import Rule, Space

SPACES = ["latent", "joint", "response", "pca", "disagreement", "length"]
RULES = ["auto", "p_value", "ratio", "cusum", "threshold"]


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("reference", metavar="REFERENCE")
@click.argument("outputs", metavar="OUTPUTS|RUN")
@click.option(
    "--detector",
    "names",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,…]",
    help="See `embrm list detectors`; may be repeated. Without it: mahalanobis and csi.",
)
@click.option(
    "--space",
    "spaces",
    type=click.Choice(SPACES),
    multiple=True,
    help="Which vectors to compare; may be repeated. The model's latents (the default), embeddings of prompt and "
    "response, or of the response, 32 principal axes of the former, the members' disagreement, or the length.",
)
@click.option("--member", default=0, show_default=True, help="Whose latents: every member has a space of its own.")
@click.option("--level", default=0.01, show_default=True, help="Chance of an alarm, all p-valued detectors together.")
@click.option("--window", type=int, help="Of a RUN: steps checked together; 5 unless given.")
@click.option("--onset", type=click.Choice(RULES), help="Of a RUN: the rule that raises the alarm; auto unless given.")
@click.option("--limit", type=float, help="Of a RUN: the statistic above which --onset threshold raises the alarm.")
@_options.settings
@_options.embedding
@_options.seed
@_options.json_output
def command(
    model: str,
    reference: str,
    outputs: str,
    names: tuple[str, ...],
    spaces: tuple[Space, ...],
    member: int,
    level: float,
    window: int | None,
    onset: Rule | None,
    limit: float | None,
    options: tuple[str, ...],
    source: _options.SourceOptions,
    seed: int,
    as_json: bool,
) -> int:
    """Say whether outputs have left the region of reference texts, where the reward can be trusted; exit 3 if so.

    REFERENCE and OUTPUTS have pairs, pools or texts, such as the training pairs and what `embrm select` wrote. Each
    detector is applied in each space; those that give a p-value for the whole set raise an alarm at the level. In place
    of OUTPUTS, the folder of a run of `embrm rl`, finished or not, is checked step by step by onset rules: ratio for
    csi, p_value for calibrated detectors, cusum for others. Any alarm makes the exit code 3, so that a script can stop
    a training run. `--set` is for a single `--detector`.

    Examples:
      embrm detect model prefs.jsonl pools.jsonl --set alpha=0.1 --detector mahalanobis
      embrm detect model prefs.jsonl pools.jsonl --detector mahalanobis --detector mmd --space latent --space response
      embrm detect model prefs.jsonl run --detector csi --onset cusum
    """
    from embrm import detectors
    from embrm.data.texts import read_texts
    from embrm.errors import OptionError
    from embrm.evaluation.scorer import Scorer
    from embrm.heads import load_model
    from embrm.monitoring import watch

    if options and len(names) != 1:
        raise OptionError(f"--set needs a single --detector to belong to, got {', '.join(names) or 'none'}")
    recipes = _options.recipes(detectors.registry, names or ("mahalanobis", "csi"), more=options)
    run = Path(outputs).is_dir()
    if not run and (window, onset, limit) != (None, None, None):
        raise OptionError(f"--window, --onset and --limit are about the steps of a run, and {outputs} is no folder")
    scorer = Scorer(model, load_model(model), source.reading)
    known = read_texts(reference)
    how: dict[str, Any] = {"spaces": spaces or ("latent",), "member": member, "level": level, "seed": seed}
    data: dict[str, Any]
    if run:
        watched = watch.watch_run(
            recipes,
            scorer,
            known,
            outputs,
            window=5 if window is None else window,
            rule=onset or "auto",
            limit=limit,
            **how,
        )
        data, text = {"watched": watched}, _render.watched_table(watched)
        alarm = any(line.alarm is not None for line in watched)
    else:
        new = read_texts(outputs)
        findings = watch.check_outputs(recipes, scorer, known, new, **how)
        data, text = {"outputs": len(new), "findings": findings}, _render.finding_table(findings)
        alarm = any(finding.alarm for finding in findings)
    _render.emit({"reference": len(known), "level": level, "alarm": alarm, **data}, text, as_json=as_json)
    return 3 if alarm else 0
