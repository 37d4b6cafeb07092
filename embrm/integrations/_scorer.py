"""Texts in, rewards out, for trainers that ask from many threads at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from embrm import selectors
from embrm.core.arrays import Array
from embrm.data.encode import check_views, embedder_of, encode
from embrm.embedders import Embedder, check_texts
from embrm.errors import OptionError
from embrm.heads import FittedHead, load_model
from embrm.selectors import Selector, ValueRule

BATCH = 4096  # texts that are embedded in one go; more wait for the next


@dataclass(frozen=True, eq=False)
class Scored:
    """What a trainer is told about `n` texts.

    Attributes:
        reward: `(n,)` the rule's value; 0 is the mean of the training texts where the rule is the mean.
        score: `(n,)` inside (0, 1): the probability that the text is preferred to one of the training texts' mean
            reward, averaged over draws.
        uncertainty: `(n,)` standard deviation over draws.
        cut: `(n,)` 1 where the text was longer than the embedder reads, else 0.
    """

    reward: Array
    score: Array
    uncertainty: Array
    cut: Array

    def take(self, rows: Any) -> Scored:
        """Return the given rows."""
        return Scored(self.reward[rows], self.score[rows], self.uncertainty[rows], self.cut[rows])


@dataclass(eq=False)
class _Waiting:
    texts: Sequence[tuple[str, str]]
    result: Scored | None = None
    error: BaseException | None = None


class TextScorer:
    """A fitted head with its embedder and a rule: pairs of prompt and response become rewards.

    It may be called from any number of threads. One of them scores at a time, and with its own texts all those that
    came in while it waited, each distinct text once.

    Args:
        model: the folder of a saved model, or a fitted head.
        embedder: what embeds the texts; None takes what the model was trained with.
        rule: a selector that values each text by itself; None is the mean over draws.

    Raises:
        OptionError: the model knows of no embedder and none is given, it reads a view that texts do not have, or the
            rule looks at other texts or draws at random.
    """

    def __init__(
        self, model: str | Path | FittedHead, *, embedder: Embedder | None = None, rule: Selector | None = None
    ) -> None:
        self.model = model if isinstance(model, FittedHead) else load_model(model)
        self.embedder = embedder_of(self.model) if embedder is None else embedder
        self.rule = selectors.get("mean")() if rule is None else rule
        if not isinstance(self.rule, ValueRule):
            name = selectors.registry.name_of(self.rule)
            raise OptionError(
                f"the rule '{name}' does not value a text by itself, as a trainer needs it; take mean, lower_bound, "
                "worst_case or another that does"
            )
        check_views(self.model.widths)
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self(["x"], [""])  # loads the embedder's model, and refuses vectors or a rule that do not fit

    @property
    def keep_system(self) -> bool:
        """Whether system turns stay in prompts, as they did in the training texts."""
        return self.model.embedder.keep_system

    def __call__(self, responses: Sequence[str], prompts: Sequence[str]) -> Scored:
        """Return what is known about `n >= 1` responses to their prompts.

        Raises:
            DataError: a text has no form in UTF-8.
        """
        check_texts(responses)
        check_texts(prompts)
        mine = _Waiting(list(zip(prompts, responses, strict=True)))
        self._queue.append(mine)
        while mine.result is None and mine.error is None:
            with self._lock:
                if mine.result is None and mine.error is None:
                    self._run(self._next())
        if mine.error is not None:
            raise mine.error
        assert mine.result is not None
        return mine.result

    def _next(self) -> list[_Waiting]:
        batch = [self._queue.popleft()]
        size = len(batch[0].texts)
        while self._queue and (size := size + len(self._queue[0].texts)) <= BATCH:
            batch.append(self._queue.popleft())
        return batch

    def _run(self, batch: list[_Waiting]) -> None:
        try:
            number = {text: i for i, text in enumerate(dict.fromkeys(t for w in batch for t in w.texts))}
            scored = self._score(list(number))
            for waiting in batch:
                waiting.result = scored.take([number[text] for text in waiting.texts])
        except BaseException as error:  # whoever waits must hear of it, or waits for ever
            for waiting in batch:
                waiting.error = error

    def _score(self, texts: list[tuple[str, str]]) -> Scored:
        prompts, responses = zip(*texts, strict=True)
        done = encode(prompts, responses, embedder=self.embedder, views=self.model.widths)
        reward = self.model.score(done.features).centred()
        return Scored(
            reward=self.rule(reward).value,
            score=expit(reward.draws).mean(axis=0),
            uncertainty=reward.sd,
            cut=done.cut.astype(np.float64),
        )
