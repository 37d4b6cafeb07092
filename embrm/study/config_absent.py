"""What a configuration says of heads, rules, mechanisms and data sets that were taken out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from embrm.study.schema import ExperimentConfig, HeadConfig, RLConfig, RuleConfig, StudyConfig


class AbsentWarning(UserWarning):
    """Parts of a configuration are left out, because an override took out what they are about."""


def without_absent(config: StudyConfig, before: StudyConfig) -> tuple[StudyConfig, str]:
    """Return a configuration without the parts that name what was taken out, and the list of those.

    A name that was not there before either is a mistake, and stays to be found.

    Args:
        config: after the overrides, or of a file that extends another.
        before: the configuration that was overridden or extended.
    """
    kept_heads = map(_Gone(config, before).head, config.heads)
    heads = [head for head in kept_heads if head is not None]
    gone = _Gone(config.model_copy(update={"heads": heads}), before)  # heads that are for what is gone are gone too
    rules = [rule for rule in map(gone.rule, config.rules) if rule is not None]
    left = [f"rule '{rule.label}'" for rule in config.rules if rule.label not in {kept.label for kept in rules}]
    left += [f"head '{head.title}'" for head in config.heads if head.title not in {kept.title for kept in heads}]
    made = list(filter(None, map(gone.experiment, config.experiments)))
    there = {asked.label for asked in made}
    left += [f"experiment '{asked.label}'" for asked in config.experiments if asked.label not in there]
    rl = gone.rl(config.rl)
    left += ["rl"] if config.rl and rl is None else []
    watched = gone.less(config.detection.heads, gone.titles)
    left += ["detection"] if config.detection.heads and not watched else []
    under = config.detection.mechanisms and gone.less(config.detection.mechanisms, gone.mechanisms)
    detection = config.detection.model_copy(update={"heads": watched, "mechanisms": under})
    kept = {"rules": rules, "heads": heads, "experiments": made, "rl": rl, "detection": detection}
    return config.model_copy(update=kept), ", ".join(dict.fromkeys(left))


class _Gone:
    """Names that were there before, and are no more."""

    def __init__(self, config: StudyConfig, before: StudyConfig) -> None:
        self.titles = set(before.titles) - set(config.titles)
        self.labels = {rule.label for rule in before.rules} - {rule.label for rule in config.rules}
        self.mechanisms = before.mechanisms.keys() - config.mechanisms.keys()
        self.datasets = {data.name for data in before.datasets} - {data.name for data in config.datasets}

    @staticmethod
    def less(names: Sequence[str], gone: Iterable[str]) -> list[str]:
        return [name for name in names if name not in set(gone)]

    def rule(self, rule: RuleConfig) -> RuleConfig | None:
        heads = self.less(rule.heads, self.titles)
        return rule.model_copy(update={"heads": heads}) if heads or not rule.heads else None  # none would mean all

    def head(self, head: HeadConfig) -> HeadConfig | None:
        mechanisms = head.mechanisms and self.less(head.mechanisms, self.mechanisms)
        datasets = head.datasets and self.less(head.datasets, self.datasets)
        if (head.mechanisms and not mechanisms) or (head.datasets and not datasets):
            return None
        rules = None if head.rules is None else self.less(head.rules, self.labels)
        return head.model_copy(update={"mechanisms": mechanisms, "datasets": datasets, "rules": rules})

    def experiment(self, asked: ExperimentConfig) -> ExperimentConfig | None:
        mechanisms = asked.mechanisms and self.less(asked.mechanisms, self.mechanisms)
        datasets = asked.datasets and self.less(asked.datasets, self.datasets)
        if (asked.mechanisms and not mechanisms) or (asked.datasets and not datasets):
            return None
        return asked.model_copy(update={"mechanisms": mechanisms, "datasets": datasets})

    def rl(self, rl: RLConfig | None) -> RLConfig | None:
        heads = self.less(rl.heads, self.titles) if rl else []
        mechanisms = self.less(rl.mechanisms, self.mechanisms) if rl else []
        if rl is None or not heads or not mechanisms or rl.dataset in self.datasets:
            return None
        rules = self.less(rl.rules, self.labels)
        return rl.model_copy(update={"heads": heads, "mechanisms": mechanisms, "rules": rules})
