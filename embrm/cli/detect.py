"""`embrm detect`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render, _rows
from embrm.cli._alarm import AlarmOptions, alarm_rule

if TYPE_CHECKING:
    from embrm.data.faults import RowRules
    from embrm.data.texts import Texts
    from embrm.detectors import Detector
    from embrm.evaluation.scorer import Scorer
    from embrm.monitoring.spaces import Space

SPACES = ["latent", "joint", "response", "pca", "disagreement", "length"]


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("reference", metavar="REFERENCE")
@click.argument("outputs", metavar="OUTPUTS|RUN|LOG")
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
@click.option(
    "--member",
    type=_options.whole(),
    default=0,
    show_default=True,
    help="Whose latents: every member has a space of its own.",
)
@alarm_rule
@click.option(
    "--reference-features", metavar="FILE[:NAME]", help="Vectors of REFERENCE made elsewhere, as --features has them."
)
@_options.settings
@_rows.options
@_rows.reference_options
@_options.on_texts
@_options.seed
@_options.json_output
def command(
    model: str,
    reference: str,
    outputs: str,
    names: tuple[str, ...],
    spaces: tuple[Space, ...],
    member: int,
    alarm: AlarmOptions,
    options: tuple[str, ...],
    source: _options.SourceOptions,
    rules: RowRules,
    reference_rules: RowRules,
    reference_features: str | None,
    seed: int,
    as_json: bool,
) -> int:
    """Say whether outputs have left the region of reference texts, where the reward can be trusted; exit 3 if so.

    REFERENCE and OUTPUTS have pairs, pools or texts, such as the training pairs and what `embrm select` wrote. Each
    detector is applied in each space; those that give a p-value for the whole set raise an alarm at the level. In place
    of OUTPUTS, the folder of a run of `embrm rl`, finished or not, is checked step by step by onset rules: ratio for
    csi, p_value for calibrated detectors, cusum for others. So is the LOG of any trainer, rows of step, reward, and
    text (with its prompt) or vector. The table says to what chance of a false alarm each rule was calibrated. Any alarm
    makes the exit code 3, so that a script can stop a training run. `--set` is for a single `--detector`. Outputs that
    the model was trained on are told; the others are checked apart, and the exit code is theirs.

    Examples:
      embrm detect model prefs.jsonl pools.jsonl --set alpha=0.1 --detector mahalanobis
      embrm detect model prefs.jsonl pools.jsonl --detector mahalanobis --detector mmd --space latent --space response
      embrm detect model prefs.jsonl run --detector csi --onset cusum
      embrm detect model prefs.jsonl pools.jsonl --reference-features known.npy --features new.npy
    """
    from embrm import detectors, monitoring
    from embrm.data.texts import read_texts
    from embrm.errors import OptionError
    from embrm.evaluation.overlap import texts_overlap
    from embrm.evaluation.scorer import Scorer
    from embrm.heads import load_model

    if options and len(names) != 1:
        raise OptionError(f"--set needs a single --detector to belong to, got {', '.join(names) or 'none'}")
    recipes = _options.recipes(detectors.registry, names or ("mahalanobis", "csi"), more=options)
    log = monitoring.is_log(outputs)
    run = log or Path(outputs).is_dir()
    if not run and set(alarm.typed) - {"--level"}:
        raise OptionError(
            f"--window, --onset and --limit are about the steps of a run, and {outputs} is neither its folder nor a log"
        )
    if run and (source.features or reference_features):
        raise OptionError(f"--features and --reference-features are of two files of texts, and {outputs} is a run")
    rule, scorer = alarm.rule(), Scorer(model, load_model(model), dataclasses.replace(source, features=None).reading)
    known = read_texts(reference, rules=scorer.rules(reference_rules))
    known = known.with_vectors(reference_features) if reference_features else known
    data: dict[str, Any]
    how: dict[str, Any] = {"spaces": spaces or ("latent",), "member": member, "seed": seed}
    if run:
        steps = monitoring.read_log(outputs, scorer.model) if log else outputs
        watched = monitoring.watch_run(recipes, scorer, known, steps, rule=rule, **how)
        data, text = {"watched": watched, "training": {}}, _render.trajectory_table(watched)
        fired = any(line.alarm is not None for line in watched)
    else:
        new = read_texts(outputs, rules=scorer.rules(rules))
        new = new.with_vectors(source.features) if source.features else new
        data, text, fired = _check(recipes, scorer, known, new, level=rule.level, **how)
    trained = texts_overlap(scorer.model, known)
    if trained is not None:
        data["training"]["reference"] = count = trained.as_dict()
        text += f"\nreference: {count['trained_on']} of {count['rows']} rows were in the model's training"
    _render.emit({"reference": len(known), "level": rule.level, "alarm": fired, **data}, text, as_json=as_json)
    return 3 if fired else 0


def _check(
    recipes: Mapping[str, Detector], scorer: Scorer, known: Texts, new: Texts, **how: Any
) -> tuple[dict[str, Any], str, bool]:
    """Return what detectors say as data and as text, and whether there is an alarm: of outputs not trained on, if any.

    The detectors of all outputs have said what they can where those that were not trained on are too few for one.
    """
    from embrm.errors import DataError
    from embrm.evaluation.overlap import texts_overlap
    from embrm.monitoring import check_outputs

    found = check_outputs(recipes, scorer, known, new, **how)
    data: dict[str, Any] = {"outputs": len(new), "findings": found, "training": {}}
    text = _render.detector_table(found)
    overlap = texts_overlap(scorer.model, new)
    if overlap is not None:
        overlap.warn()
        data["training"]["outputs"] = overlap.as_dict()
    if overlap is not None and overlap.mixed:
        rest = new.take(~overlap.seen)
        with suppress(DataError):
            found = check_outputs(recipes, scorer, known, rest, **how)
            data["unseen"] = {"outputs": len(rest), "findings": found}
            text += f"\n\n{len(rest)} outputs that were not trained on:\n{_render.detector_table(found)}"
    return data, text, any(line.alarm for line in found)
