"""`embrm rl`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render, _rows
from embrm.cli._alarm import AlarmOptions, alarm_rule
from embrm.cli._asked import WORLD, gold_or_world, prompts_or_world
from embrm.cli._progress import is_watched
from embrm.cli._world_head import HeadOptions, world_head
from embrm.core.progress import watching

if TYPE_CHECKING:
    from embrm.core.trajectory import Step, Trajectory
    from embrm.data.faults import RowRules
    from embrm.integrations.tracking import Run
    from embrm.integrations.trl import RewardFunction

GRAMMAR = ("algorithm", "shaping")
LM = (
    *("lm", "prompts", "gold", "gold_label", "selector", "reference", "detector", "stop_on_alarm"),
    *("group", "max_new_tokens", "micro_batch", "save_every", "options"),
)
WORLD_RATE = 3e-4  # a model of two million weights bears larger steps than one of billions


@click.command()
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("-o", "--output", metavar="FOLDER", required=True, help="A new folder for the run.")
@click.option(
    "--policy",
    type=click.Choice(["grammar", "causal_lm"]),
    default="grammar",
    show_default=True,
    help="The simulated world's, or a language model (extra trl).",
)
@click.option("--steps", type=_options.whole(), default=200, show_default=True, help="Updates.")
@click.option("--batch", type=_options.whole(), default=64, show_default=True, help="Texts a step.")
@click.option(
    "--learning-rate",
    type=_options.Number(),
    help="Larger leaves the reference policy sooner; unless given 0.05 for grammar, for causal_lm 1e-6, and 3e-4 for "
    "the world's.",
)
@click.option(
    "--kl-weight", type=_options.Number(), default=0.02, show_default=True, help="Penalty on the KL; 0: none."
)
@click.option("--algorithm", type=click.Choice(["reinforce", "ppo"]), help="Of grammar: reinforce unless given.")
@click.option(
    "--shaping",
    type=click.Choice(["none", "center", "sigmoid"]),
    help="Of grammar: what becomes of the reward; sigmoid stops paying once a text is better than most.",
)
@click.option("--lm", metavar="PATH", help="Of causal_lm: a folder of transformers' form, an id on the hub, or world.")
@click.option(
    "--prompts", metavar="FILE", help="Of causal_lm: rows with a prompt, text or messages; all questions for world."
)
@click.option(
    "--gold", metavar="PATH", help="Of causal_lm: a reward model of transformers' form, or world, only watched."
)
@click.option(
    "--gold-label", type=_options.whole(), help="Of causal_lm: which logit of --gold is good, where it has several."
)
@click.option(
    "--selector", metavar="NAME[:OPTION=VALUE,…]", help="Of causal_lm: whose value is the reward; mean unless given."
)
@click.option(
    "--reference", metavar="FILE", help="Of causal_lm: reference texts, for the latent penalty and the alarm."
)
@click.option(
    "--detector",
    metavar="NAME[:OPTION=VALUE,…]",
    help="Of causal_lm: watches the latents for an alarm, which makes the exit code 3.",
)
@click.option("--stop-on-alarm", is_flag=True, help="Of causal_lm: end the run there; mahalanobis unless --detector.")
@alarm_rule
@click.option("--group", type=_options.whole(), help="Of causal_lm: responses to a prompt; 8 unless given.")
@click.option(
    "--max-new-tokens", type=_options.whole(), help="Of causal_lm: a response is cut off there; 256 unless given."
)
@click.option(
    "--micro-batch", type=_options.whole(), help="Of causal_lm: texts in memory at once; the batch unless given."
)
@click.option(
    "--save-every",
    type=_options.whole(0),
    help="Of causal_lm: steps between checkpoints; 50 unless given, 0: none.",
)
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="Of causal_lm: set an option of TRL.")
@_options.principle
@_options.latent_penalty
@_rows.options
@_rows.reference_options
@_options.track
@click.option("--latents", is_flag=True, help="Keep the model's latents of every step, for detectors.")
@world_head
@_options.embedding
@_options.seed
@_options.json_output
def command(
    model: str | None,
    output: str,
    policy: str,
    alarm: AlarmOptions,
    trained: HeadOptions,
    track: str | None,
    as_json: bool,
    **typed: Any,
) -> int:
    """Train a policy against a model's reward, and watch the gold.

    The policy is the simulated world's, or with `--policy causal_lm` a language model, trained by TRL's GRPO. The
    folder gets trajectory.jsonl, a line a step, and trajectory.svg, gold and proxy against KL; for a language model
    also the trained model in `policy`. A language model's run that was interrupted goes on from its last checkpoint
    when the same command is given again. The small language model that comes with the project is called world: its
    prompts and its gold are the world's.

    Examples:
      embrm rl model -o trained --steps 50 --batch 16
      embrm rl model -o restrained --steps 50 --batch 16 --latent-penalty 0.1
      embrm rl --policy causal_lm --lm world --head mlp --bias 1 -o optimised --steps 2 --batch 8 --max-new-tokens 40
    """
    from pathlib import Path

    from embrm.errors import OptionError
    from embrm.integrations.resume import interrupted
    from embrm.integrations.tracking import tracking
    from embrm.report.figures import save
    from embrm.report.path import along_kl

    names = [name for name in (LM if policy == "grammar" else GRAMMAR) if typed[name] not in (None, (), False)]
    foreign = ["--set" if name == "options" else f"--{name.replace('_', '-')}" for name in names]
    if policy == "grammar":
        foreign += [*alarm.typed, *_rows.typed(typed["rules"], typed["reference_rules"])]
    if foreign:
        raise OptionError(
            f"the policy '{policy}' has no {', '.join(foreign)}; leave it out, or choose another --policy"
        )
    if (model is None) == (trained.head is None):
        raise OptionError("give a MODEL, the folder of a saved head, or --head NAME to train one; one of both")
    if model is None:
        begun = policy == "causal_lm" and interrupted(output)
        model, drawn = trained.train(output, source=typed["source"], seed=typed["seed"], begun=begun)
        typed["reference"] = typed["reference"] or drawn
    with tracking(track, output) as tracked:
        if policy == "grammar":
            run, fired = _train_grammar(model=model, output=output, tracked=tracked, **typed), None
        else:
            run, fired = _train_lm(model=model, output=output, alarm=alarm, tracked=tracked, **typed)
        if fired is not None:
            tracked.alert(fired, f"{typed['detector'] or 'mahalanobis'} says that the texts have left the reference")
    figure = Path(output) / "trajectory.svg"
    save(along_kl([vars(step) for step in run.steps]), figure)
    columns = ("step", "kl", "proxy", "gold")
    rows = [[getattr(step, name) for name in columns] for step in (run.steps[0], run.steps[-1])]
    summary = {"output": output, "steps": len(run), "first": rows[0], "last": rows[1], "figure": str(figure)}
    text = f"{_render.table(columns, rows)}\nfigure: {figure}"
    if policy == "causal_lm":
        summary |= {"alarm": fired, "cut": (cut := run.steps[-1].cut)}
        text += f"\n{cut:.0%} of the last texts were cut off at --max-new-tokens" if cut else ""
        text += "" if fired is None else f"\nALARM at step {fired}"
    _render.emit(summary, text, as_json=as_json)
    return 0 if fired is None else 3


def _train_grammar(
    *,
    model: str,
    output: str,
    principle: str | None,
    latent_penalty: float,
    latents: bool,
    source: _options.SourceOptions,
    seed: int,
    tracked: Run,
    **typed: Any,
) -> Trajectory:
    from embrm import embedders
    from embrm.policies.training import PolicyGradient
    from embrm.world import World, shipped
    from embrm.world.penalty import LatentPenalty
    from embrm.world.runs import latents_of, rewarded_by

    training = PolicyGradient(**_given(typed, "steps", "batch", "kl_weight", "learning_rate", *GRAMMAR))
    fitted = _options.open_model(model, principle, source)
    embedder = source.reading(fitted)["embedder"]
    reward = rewarded_by(fitted, embedder)
    if latent_penalty:
        data = shipped.load(embedders.registry.name_of(embedder))
        reward = LatentPenalty.of(fitted, data, weight=latent_penalty).from_reward(reward, embedder)
    with _shown(training.steps, tracked) as show:
        latent = latents_of(fitted, embedder) if latents else None
        return training.train(World.load(), reward, seed=seed, latent=latent, folder=output, on_step=show)


def _train_lm(
    *,
    model: str,
    output: str,
    lm: str | None,
    prompts: str | None,
    rules: RowRules,
    gold: str | None,
    gold_label: int | None,
    seed: int,
    **typed: Any,
) -> tuple[Trajectory, int | None]:
    from embrm.core.settings import read_settings
    from embrm.errors import OptionError
    from embrm.integrations.grpo import GRPO

    if lm is None or (prompts is None and lm != WORLD):
        raise OptionError("--policy causal_lm needs --lm, a language model, and --prompts, a file of prompts")
    if lm == WORLD and typed["learning_rate"] is None:
        typed["learning_rate"] = WORLD_RATE
    options = read_settings(typed["options"], example="temperature=0.7")
    names = ("steps", "batch", "kl_weight", "learning_rate", "group", "max_new_tokens", "micro_batch", "save_every")
    training = GRPO(options=options, **_given(typed, *names))
    watched = "mahalanobis" if typed["detector"] is None and typed["stop_on_alarm"] else typed["detector"]
    reward = _reward(model, watched=watched, **typed)
    reward.latents = typed["latents"]
    with _shown(training.steps, typed["tracked"]) as show:
        run = training.train(
            lm,
            prompts_or_world(prompts, lm=lm, rules=rules)[1],
            reward=reward,
            seed=seed,
            gold=gold_or_world(gold, gold_label, lm=lm, asked=prompts, more={}),
            folder=output,
            on_step=show,
            stop_on_alarm=typed["stop_on_alarm"],
        )
    return run, None if reward.alarm is None else reward.alarm.fired


def _reward(
    model: str,
    *,
    source: _options.SourceOptions,
    latent_penalty: float,
    selector: str | None,
    reference: str | None,
    reference_rules: RowRules,
    watched: str | None,
    alarm: AlarmOptions,
    **others: Any,
) -> RewardFunction:
    from embrm import detectors, selectors
    from embrm.data.texts import read_texts
    from embrm.errors import OptionError
    from embrm.integrations.trl import RewardFunction

    if alarm.typed and watched is None:
        raise OptionError(f"{', '.join(alarm.typed)} are about an alarm; give --detector or --stop-on-alarm too")
    fitted = _options.open_model(model, others["principle"], source)
    rule = next(iter(_options.recipes(selectors.registry, [] if selector is None else [selector]).values()), None)
    reward = RewardFunction(fitted, source.embedder_of(fitted), selector=rule)
    if not latent_penalty and watched is None:
        return reward
    if reference is None:
        raise OptionError("a latent penalty and an alarm compare with reference texts; give them as --reference FILE")
    if latent_penalty and rule is not None:
        raise OptionError("--latent-penalty is subtracted from the mean; leave --selector out")
    texts = read_texts(reference, rules=reference_rules.like(fitted.embedder))
    if latent_penalty:
        reward = reward.penalised_by(detectors.get("mahalanobis")(), texts, weight=latent_penalty)
    for recipe in _options.recipes(detectors.registry, [] if watched is None else [watched]).values():
        reward = reward.watched_by(recipe, texts, rule=alarm.rule())
    return reward


def _given(typed: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return what was typed of these options; the recipe knows the default of the others."""
    return {name: typed[name] for name in names if typed[name] is not None}


@contextmanager
def _shown(steps: int, tracked: Run) -> Iterator[Callable[[Step], None]]:
    from tqdm import tqdm

    with tqdm(total=steps, unit="step", disable=not is_watched()) as bar, watching(None):

        def show(step: Step) -> None:
            bar.set_postfix(kl=f"{step.kl:.2f}", proxy=f"{step.proxy:.2f}", gold=f"{step.gold:.2f}", refresh=False)
            bar.update()
            numbers = {name: getattr(step, name) for name in ("kl", "entropy", "proxy", "gold")}
            tracked.log(step.step, numbers | {f"mean/{name}": mean for name, mean in step.means.items()})

        yield show
