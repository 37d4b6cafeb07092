"""What the page is about: a sample of the world with heads that are fitted when asked for, or a model of one's own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from embrm import heads
from embrm.core.data import Features
from embrm.data.encode import encode
from embrm.data.texts import Texts, number_prompts
from embrm.demo.judge import RULES, Judge
from embrm.demo.live import LiveEmbedder
from embrm.demo.path import PathView
from embrm.demo.setting import MECHANISMS, FitSetting, Seat
from embrm.embedders import Embedder
from embrm.errors import DataError, OptionError
from embrm.heads import FittedHead
from embrm.world.world_sample import WorldSample

# The heads of the page by name: recipe and options.
HEADS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {"members": 5}),
    "inform": ("inform", {"members": 5}),
    "linear": ("linear", {"members": 5}),
    "retrieval": ("retrieval", {}),
}
KEPT = 12  # fitted heads that stay in memory
SEED = 0


class Stage(ABC):
    """Who judges, and by which reference.

    Attributes:
        embedder: of the texts that are written on the page.
    """

    embedder: LiveEmbedder

    @abstractmethod
    def judge(self, setting: FitSetting, head: str) -> Judge:
        """Return a fitted head; it is fitted now where it is new.

        Raises:
            DataError: there is no such head, or the setting allows no such pairs.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what the page shows before anything is written, JSON-ready."""

    def features(self, texts: Sequence[tuple[str, str]], views: Sequence[str]) -> Features:
        """Embed texts as they are written."""
        prompts, responses = zip(*texts, strict=True)
        return encode(prompts, responses, embedder=self.embedder, views=views).features

    def say(self, setting: FitSetting, seat: Seat, texts: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Return what a head says of each text; see `Judge.say`."""
        judge = self.judge(setting, seat.head)
        return judge.say(self.features(texts, list(judge.model.widths)), rule=seat.rule)

    def gold(self, prompt: str, response: str) -> dict[str, Any]:
        """Return the true quality of a response, or why it is not known."""
        return {"gold": None, "why": "nobody knows the true quality of these texts", "counts": None}


@dataclass(eq=False)
class WorldStage(Stage):
    """The simulated world, whose gold reward is known.

    Attributes:
        sample: texts with the vectors of an embedder.
        inner: that embedder.
    """

    sample: WorldSample
    inner: Embedder

    def __post_init__(self) -> None:
        self.embedder = LiveEmbedder(self.inner)
        self._judges: OrderedDict[tuple[FitSetting, str], Judge] = OrderedDict()
        self._views: dict[tuple[FitSetting, Seat], PathView] = {}
        self._fitting = threading.Lock()

    @property
    def most_pairs(self) -> int:
        """How many training pairs every mechanism has texts for."""
        return len(self.sample.responses["training"]) // 4

    @property
    def usual(self) -> FitSetting:
        """The setting that the page begins with."""
        return FitSetting(pairs=min(FitSetting().pairs, self.most_pairs))

    def judge(self, setting: FitSetting, head: str) -> Judge:
        """Return a fitted head; see `Stage.judge`.

        Raises:
            DataError: there is no such head, or the setting allows no such pairs.
        """
        if head not in HEADS:
            raise DataError(f"no head called {ascii(head)[:40]} on this page. There are: {', '.join(HEADS)}.")
        with self._fitting:
            key = (setting, head)
            if key not in self._judges:
                self._judges[key] = self._fit(setting, head)
                while len(self._judges) > KEPT:
                    old, _ = self._judges.popitem(last=False)
                    self._views = {k: v for k, v in self._views.items() if (k[0], k[1].head) != old}
            self._judges.move_to_end(key)
            return self._judges[key]

    def _fit(self, setting: FitSetting, head: str) -> Judge:
        name, options = HEADS[head]
        pairs = self.sample.preferences(
            MECHANISMS[setting.mechanism], flips=setting.flips, pairs=setting.pairs, seed=SEED
        )
        model: FittedHead = heads.get(name)(**options).fit(pairs, seed=SEED)
        own = self.sample.reference_rows.ravel()
        features = self.sample.features["pools"].take(own)
        written = self.sample.responses["training"]
        rows = zip(pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)
        learnt = [(written.prompts[i], written.texts[i], written.texts[j]) for i, j in rows]
        return Judge(model, features, features.prompt, learnt)

    def path(self, setting: FitSetting, seat: Seat) -> PathView:
        """Return what optimising against a head leads to.

        Raises:
            DataError: see `judge`.
            OptionError: see `Judge.value`.
        """
        judge = self.judge(setting, seat.head)
        if (setting, seat) not in self._views:
            self._views[setting, seat] = PathView.of(judge, self.sample, rule=seat.rule)
        return self._views[setting, seat]

    def gold(self, prompt: str, response: str) -> dict[str, Any]:
        """Return the gold reward and the counts of a response whose every sentence is the world's, for its topic."""
        topic = self._topic.get(prompt.strip())
        if topic is None:
            return {"gold": None, "why": "the prompt is not one of the world's", "counts": None}
        world = self.sample.world
        try:
            counts = world.only([topic]).read(" ".join(response.split()))
            gold = float(world.gold(counts[None])[0])
        except DataError:
            return {"gold": None, "why": "a sentence is not one of the world's", "counts": None}
        except OptionError:
            return {"gold": None, "why": "more of one kind than the world knows", "counts": None}
        return {"gold": gold, "why": None, "counts": dict(zip(world.attributes, counts.tolist(), strict=True))}

    @cached_property
    def _topic(self) -> dict[str, int]:
        topics = self.sample.world.spec.topics
        return {question: i for i, topic in enumerate(topics) for question in topic.questions}

    def state(self) -> dict[str, Any]:
        """Return prompts with the statements that answer them, styles, heads and annotators."""
        spec, written = self.sample.world.spec, self.sample.responses["pools"]
        first = {}
        for row in self.sample.reference_rows[:, 1].tolist():
            first[written.prompts[row]] = (int(written.topic[row]), written.texts[row])
        return {
            "world": True,
            "embedder": self.inner.identity.split(" ")[0],
            "heads": {name: list(RULES if "members" in options else RULES[:1]) for name, (_, options) in HEADS.items()},
            "mechanisms": list(MECHANISMS),
            "setting": vars(self.usual),
            "most_pairs": self.most_pairs,
            "attributes": list(self.sample.world.attributes),
            "most": [len(p) - 1 for p in self.sample.world.reference],
            "styles": {name: list(texts) for name, texts in spec.styles.items()},
            "prompts": [
                {
                    "text": prompt,
                    "start": text,
                    "correct": list(spec.topics[topic].correct),
                    "wrong": list(spec.topics[topic].wrong),
                }
                for prompt, (topic, text) in first.items()
            ],
        }


@dataclass(eq=False)
class ModelStage(Stage):
    """A model of one's own beside reference texts of one's own; nobody knows the gold.

    Attributes:
        name: of the model.
        model: the fitted head.
        texts: the reference.
        reference: their features.
        inner: what embeds what is written.
    """

    name: str
    model: FittedHead
    texts: Texts
    reference: Features
    inner: Embedder

    def __post_init__(self) -> None:
        self.embedder = LiveEmbedder(self.inner)
        self._judge = Judge(self.model, self.reference, number_prompts(self.texts)[0])
        self.say(FitSetting(), Seat(self.name), [("x", "")])  # refuses vectors that do not fit, and loads the embedder

    def judge(self, setting: FitSetting, head: str) -> Judge:
        """Return the model; see `Stage.judge`.

        Raises:
            DataError: it is not called so.
        """
        if head != self.name:
            raise DataError(f"no model called {ascii(head)[:40]} on this page. There is: {self.name}.")
        return self._judge

    def state(self) -> dict[str, Any]:
        """Return the model and the prompts of the reference."""
        first = dict(zip(reversed(self.texts.prompts), reversed(self.texts.responses), strict=True))
        return {
            "world": False,
            "embedder": self.inner.identity.split(" ")[0],
            "heads": {self.name: self._judge.rules},
            "prompts": [{"text": prompt, "start": text} for prompt, text in reversed(list(first.items()))][:200],
        }
