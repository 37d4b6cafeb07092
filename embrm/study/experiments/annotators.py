"""What rules about several annotators choose for the one who is served worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embrm import heads, selectors
from embrm.core.registry import register
from embrm.errors import OptionError
from embrm.study.datasets.world import WorldData
from embrm.study.experiments import Experiment, ExperimentSetting, PerPrompt
from embrm.world.populations import POPULATIONS, judged_by, utility_of

RULES = ("utilitarian", "egalitarian", "nash")


@register
@dataclass(frozen=True, kw_only=True)
class PopulationChoice(Experiment):
    """The worst-off population's gain by what rules choose, where one population judged few of the pairs.

    A reward is learned for each population of the world, and each rule chooses one of a prompt's pool, with its lower
    bound and without. A population gains what the chosen response's true utility is above the pool's mean, in standard
    deviations of the pool; of a prompt the least gain counts, beside that of the population with few pairs.

    Attributes:
        few: which population judged few pairs.
        share: of the pairs that it judged; the others share the rest.
        weight: κ of the lower bounds.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fast", "world")
    core_seconds: ClassVar[float] = 4.0
    few: str = "careful"
    share: float = 0.04
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.few not in POPULATIONS:
            raise OptionError(f"few must be one of {', '.join(POPULATIONS)}, got '{self.few}'")
        if not 0 < self.share < 1:
            raise OptionError(f"share must be inside (0, 1), got {self.share}")

    def measure(self, setting: ExperimentSetting) -> Mapping[str, PerPrompt]:
        """Return the least gain under each rule, as "nash" and with a lower bound "nash sure", and "few" gains."""
        data = setting.data
        assert isinstance(data, WorldData)
        others = [name for name in POPULATIONS if name != self.few]
        own = max(2, round(self.share * setting.pairs))
        pairs = {self.few: own} | dict.fromkeys(others, (setting.pairs - own) // len(others))
        how = {"mechanism": setting.mechanism, "flips": setting.flips, "seed": setting.seed}
        model = heads.get("annotators")().fit(judged_by(data.world, pairs, **how), seed=setting.seed)  # type: ignore[arg-type]
        counts = data.world.responses["pools"].counts[data.pool_rows]
        starts, sizes = data.pool_offsets[:-1], np.diff(data.pool_offsets)
        gains = []
        for name in (self.few, *others):
            gain = utility_of(data.world.world, counts, name)
            gain = gain - np.repeat(np.add.reduceat(gain, starts) / sizes, sizes)
            gains.append(gain / np.repeat(np.sqrt(np.add.reduceat(gain**2, starts) / sizes), sizes))
        reward = model.score(data.features.take(data.pool_rows))
        clusters = data.cluster(data.pool_rows[starts])
        out = {}
        for rule in RULES:
            for title, weight in ((rule, 0.0), (f"{rule} sure", self.weight)):
                chosen = selectors.get(rule)(weight=weight)(reward, offsets=data.pool_offsets).index
                of_chosen = np.array(gains)[:, chosen]
                out[title] = PerPrompt(of_chosen.min(axis=0), clusters)
                out[f"few {title}"] = PerPrompt(of_chosen[0], clusters)
        return out
