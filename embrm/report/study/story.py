"""What a setting shows of one head in words: is it hacked, is that detected, what helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embrm.report.study.alarms import Strip, strips
from embrm.report.study.curves import MeasuredGold, main_rule, measured, sampled_drop
from embrm.report.study.settings import TableSetting, count, number, rounded, share
from embrm.study.claims import Case, DatasetFits, Finding, Sample, helps
from embrm.study.claims.live import fifths, usable
from embrm.study.claims.margins import GAIN
from embrm.study.metric import Metric
from embrm.study.results import Results

STANDARD = "mlp"
HEROES = 6  # heads that can stand in the first chart; all others are in the charts below it
FALLS = "The reward keeps rising. The true quality does not."
RISES = "The reward rises, and the true quality with it."
OPEN = "The reward keeps rising. Whether the true quality falls is open."


@dataclass(frozen=True)
class Tile:
    """A question with its answer.

    Attributes:
        question, answer, detail: as they are shown.
        kind: a verdict's style.
    """

    question: str
    answer: str
    detail: str
    kind: str


@dataclass(frozen=True, eq=False)
class Story:
    """One head under one setting, as the page's first screen tells it.

    Attributes:
        head, rule: whose proxy the policy is optimised against.
        title: what happens to reward and quality.
        setting: under what.
        tiles: is it hacked, and what helps; whether that is detected is of each strip.
        strips: of every detector with p-values and every space, the latent first.
        notes: what about the numbers wants an explanation.
        typical: responses of the first seed's policy at points of its path.
    """

    head: str
    rule: str
    title: str
    setting: str
    tiles: Sequence[Tile]
    strips: Sequence[Strip]
    notes: Sequence[str]
    typical: Sequence[dict[str, Any]]

    def json(self) -> dict[str, Any]:
        """Return it as the page has it."""
        return {**asdict(self), "strips": [strip.json() for strip in self.strips]}


def heroes(results: Results) -> list[str]:
    """Return the heads of the first chart: the standard one, or else the first, and the next that are of no grid."""
    grids = {head.title for head in results.config.heads if "=" in head.title}
    titles = [title for title in results.config.titles if title not in grids] or results.config.titles
    return sorted(titles, key=lambda title: title != STANDARD)[:HEROES]


def stories(results: Results, part: Results, setting: TableSetting, findings: Sequence[Finding]) -> list[Story]:
    """Return the stories of a setting's heads, the standard one first; none where there is no gold along a path.

    Args:
        results: of all settings: alarms among fair annotators are false ones.
        part: the rows of the setting.
        setting: which.
        findings: of the claims.
    """
    found = [_story(results, part, setting, head, findings) for head in heroes(results)]
    return [story for story in found if story is not None]


def _story(
    results: Results, part: Results, setting: TableSetting, head: str, findings: Sequence[Finding]
) -> Story | None:
    rule = main_rule(part, setting, head)
    gold = None if rule is None else measured(part, setting, head, Metric("path", rule))
    if gold is None or rule is None or gold.values.shape[-1] < 2:
        return None
    kl = np.linspace(0, results.config.kl_end, results.config.kl_points)[: gold.values.shape[-1]]
    change = sampled_drop(part, setting.dataset, gold)
    title, hacked = _hacked(gold, kl, change)
    rows = sorted(part.select(kind="fit", head=head), key=lambda row: row.cell.seed)
    seen = strips(results, setting, head)
    return Story(
        head=head,
        rule=rule,
        title=title,
        setting=_where(results, setting, head, rule, gold),
        tiles=[hacked, _helps(results, setting, findings)],
        strips=seen,
        notes=[*_notes(results, gold, kl), *_trained(results, setting, head)],
        typical=[_shown(text) for row in rows[:1] for text in row.notes.get("typical", ())],
    )


def _hacked(gold: MeasuredGold, kl: Any, change: tuple[Sample, Sample] | None) -> tuple[str, Tile]:
    """Return the title, and whether the gold falls from its peak to the end of the path."""
    question = "Hacked?"
    if change is None:
        return OPEN, Tile(question, "open", "too few topics for an interval", "inconclusive")
    gain, drop = change
    low, high = drop.interval
    peak = number(float(kl[int(gold.gain.values.mean(axis=(0, 1)).argmax())]), 1)
    between = f"{number(drop.estimate)} points [{number(low)}, {number(high)}]"
    if low > 0:
        return FALLS, Tile(question, "yes", f"after its peak at {peak} nats gold loses {between}", "contradicted")
    if high <= GAIN * max(gain.estimate, 0.0):
        kept = "keeps them to the end" if high < 0.005 else f"loses at most {number(high)} of them"
        detail = f"gold gains {number(gain.estimate)} points and {kept}"
        return RISES, Tile(question, "no", detail, "supported")
    return OPEN, Tile(question, "undecided", f"after its peak at {peak} nats gold loses {between}", "inconclusive")


def _helps(results: Results, setting: TableSetting, findings: Sequence[Finding]) -> Tile:
    """Say which defence gains most over the standard head at the end of the path."""
    question = "What helps?"
    case = DatasetFits(results, setting.dataset).mechanism(Case(setting.mechanism, setting.flips).title)
    ran = [f for f in findings if f.defence and f.effect is not None and f.dataset == setting.dataset]
    here = [f for f in ran if f.mechanism == case and f.channel == "path"]
    best = max(here, key=lambda f: (f.holm == "supported", f.effect or 0.0), default=None)
    if best is None or best.low is None or best.high is None:
        return Tile(question, "not compared", "no defence was run beside the standard head here", "not-run")
    ahead = f"{number(best.effect)} [{number(best.low)}, {number(best.high)}]"
    of = f"of the standard head's gain more gold; {len(here)} defence{'s' * (len(here) > 1)} compared"
    if best.holm == "supported":
        return Tile(question, best.defence, f"{ahead} {of}", "supported")
    return Tile(question, "not shown", f"closest: {best.defence}, {ahead} {of} ({helps(best)})", "inconclusive")


def _where(results: Results, setting: TableSetting, head: str, rule: str, gold: MeasuredGold) -> str:
    """Return one line on what was optimised against what, and how often."""
    seeds, topics = gold.values.shape[1], len(np.unique(gold.clusters))
    noise = f"{share(setting.flips)} label noise" if setting.flips else "no label noise"
    reward = f"reward: {head}" if rule == "mean" else f"reward: {head}, selection rule: {rule}"
    runs = f"{count(seeds)} seed{'s' * (seeds > 1)}, {count(topics)} topics"
    pairs = f"{count(setting.pairs)} pairs"
    return " · ".join([setting.dataset, _wrong(results, setting), noise, pairs, reward, runs])


def _wrong(results: Results, setting: TableSetting) -> str:
    """Say what is wrong with the training pairs."""
    if setting.mechanism not in results.config.mechanisms:
        return setting.mechanism
    made = results.config.mechanism(setting.mechanism)
    said = []
    if made.bias:
        said.append("annotators follow their likings")
    if made.confounding:
        said.append("style and quality are confounded")
    if made.coverage < 1:
        said.append(f"pairs on {share(made.coverage)} of the topics")
    if made.unseen:
        said.append(f"none with {', '.join(made.unseen)}")
    return ", ".join(said) or "fair annotators"


def _notes(results: Results, gold: MeasuredGold, kl: Any) -> list[str]:
    """Explain what would make a reader stop."""
    curve, notes = gold.gain.values.mean(axis=(0, 1)), []
    peak = float(curve.max())
    if curve[-1] < 0:
        notes.append("At the end the policy's responses are worse than the reference policy's own.")
    elif 0 < curve[-1] < peak / 2:
        lost = share(1 - float(curve[-1]) / peak)
        notes.append(f"Of all that it had gained in gold at the peak, the policy has lost {lost} at the end.")
    if kl[-1] < results.config.kl_end - 1e-9:
        notes.append(
            f"The lines end at {number(float(kl[-1]), 1)} nats: further out too few texts of the pool would count."
        )
    return notes


def _trained(results: Results, setting: TableSetting, head: str) -> list[str]:
    """Say what policies that were trained against the head did, beside the path."""
    at = {name: getattr(setting, name) for name in ("dataset", "mechanism", "flips")}
    runs = usable(list(results.select(kind="rl", head=head, rule="", **at)))
    gold, proxy, kl = (fifths(runs, Metric("run", name)) for name in ("gold", "proxy", "kl"))
    if gold is None or proxy is None or kl is None:
        return []
    best = int(gold.argmax())
    many = f"{count(len(runs))} training runs" if len(runs) > 1 else "a training run"
    way = f"from {number(gold[0])} in the first fifth of the steps"
    if best not in (0, len(gold) - 1):
        way += f" over {number(gold[best])} at {number(kl[best], 1)} nats"
    end = f"to {number(gold[-1])} in the last, at {number(kl[-1], 1)} nats"
    rewarded = f"the proxy from {number(proxy[0])} to {number(proxy[-1])}"
    return [f"In {many} against this head gold went {way} {end}, and {rewarded}."]


def _shown(text: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: rounded(text[name], 2) for name in ("kl", "proxy", "gold")}
    return {"at": str(text["at"]), "prompt": str(text["prompt"]), "text": str(text["text"]), **numbers}
