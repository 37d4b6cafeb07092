"""Heads as the custom reward function of verl, one sample or a batch at a time.

verl's `custom_reward_function.path` takes a Python file that defines `compute_score`. A file of two lines does:

    from embrm.integrations.verl import make_compute_score
    compute_score = make_compute_score("/where/the/model/is")

So does the path of this module itself, with the model's folder in `custom_reward_function.reward_kwargs.model` or in
the environment variable EMBRM_MODEL. verl gives a reward function no prompt: the rows of the training file must have it
in `extra_info`, as text or messages.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embrm.data.chat import prompt_text
from embrm.errors import DataError, OptionError
from embrm.integrations._chat import split
from embrm.integrations._scorer import TextScorer

if TYPE_CHECKING:
    from embrm.embedders import Embedder
    from embrm.heads import FittedHead
    from embrm.selectors import Selector

__all__ = ["compute_score", "make_compute_score"]

PROMPTS = ("prompt", "question", "instruction", "query", "problem")  # what `extra_info` may call it

_loading = threading.Lock()
_loaded: dict[tuple[str, str | None, bool], Callable[..., Any]] = {}


def compute_score(
    data_source: Any = None,
    solution_str: Any = None,
    ground_truth: Any = None,
    extra_info: Any = None,
    *,
    model: str | None = None,
    prompt_key: str | None = None,
    details: bool = False,
    **others: Any,
) -> Any:
    """Reward responses with the model of `reward_kwargs` or EMBRM_MODEL; see `make_compute_score`.

    Raises:
        OptionError: neither names a model.
    """
    folder = model or os.environ.get("EMBRM_MODEL")
    if not folder:
        raise OptionError(
            "name the folder of a saved model in custom_reward_function.reward_kwargs.model, or set the environment "
            "variable EMBRM_MODEL"
        )
    key = (folder, prompt_key, details)
    with _loading:  # the trainer may call from several threads
        if key not in _loaded:
            _loaded[key] = make_compute_score(folder, prompt_key=prompt_key, details=details)
    return _loaded[key](data_source, solution_str, ground_truth, extra_info, **others)


def make_compute_score(
    model: str | Path | FittedHead,
    *,
    embedder: Embedder | None = None,
    rule: Selector | None = None,
    keep_system: bool | None = None,
    prompt_key: str | None = None,
    details: bool = False,
) -> Callable[..., Any]:
    """Return a function as verl calls it, which gives a float for one sample and a list of them for a batch.

    verl's reward managers `naive`, `dapo` and `prime` call `(data_source, solution_str, ground_truth, extra_info)` for
    each sample, the manager `batch` the same in the plural with a list in each. The reward is the rule's value.

    Args:
        model: the folder of a saved model, or a fitted head.
        embedder: what embeds the texts; None takes what the model was trained with.
        rule: a selector that values each text by itself; None is the mean over draws.
        keep_system: whether system messages stay in the prompts; None does as in the model's training texts.
        prompt_key: where the prompt is in `extra_info`; None takes the only one there of prompt, question, instruction,
            query and problem.
        details: give `{"score", "uncertainty", "truncated"}` in place of each float; verl logs the others.

    Raises:
        OptionError: see `TextScorer`. The function raises DataError where a sample has no prompt or no text, since
            verl has no sign for a sample without a reward.
    """
    scorer = TextScorer(model, embedder=embedder, rule=rule)
    keep = scorer.keep_system if keep_system is None else keep_system

    def score(
        data_source: Any = None,
        solution_str: Any = None,
        ground_truth: Any = None,
        extra_info: Any = None,
        *,
        solution_strs: Sequence[str] | None = None,
        extra_infos: Sequence[Any] | None = None,
        **others: Any,
    ) -> Any:
        several = solution_strs is not None
        solutions = list(solution_strs) if solution_strs is not None else [solution_str]
        infos = (list(extra_infos) if extra_infos is not None else [None] * len(solutions)) if several else [extra_info]
        if len(infos) != len(solutions) or not solutions:
            raise DataError(f"every solution needs its extra_info, got {len(infos)} for {len(solutions)}")
        samples = [
            _sample(solution, info, where, prompt_key=prompt_key, keep_system=keep)
            for i, (solution, info) in enumerate(zip(solutions, infos, strict=True))
            for where in [f"sample {i}: " if several else ""]
        ]
        prompts, responses = (list(texts) for texts in zip(*samples, strict=True))
        found = scorer(responses, prompts)
        values: list[Any] = found.reward.tolist()
        if details:
            columns = zip(values, found.uncertainty.tolist(), found.cut.tolist(), strict=True)
            values = [{"score": value, "uncertainty": sd, "truncated": cut} for value, sd, cut in columns]
        return values if several else values[0]

    return score


def _sample(solution: Any, info: Any, where: str, *, prompt_key: str | None, keep_system: bool) -> tuple[str, str]:
    if not isinstance(solution, str):
        raise DataError(f"{where}solution_str must be text, got {type(solution).__name__}")
    asked = _prompt(info, where, prompt_key)
    if isinstance(asked, str):
        return split(asked + solution, asked, keep_system=keep_system)
    messages = asked.tolist() if hasattr(asked, "tolist") else asked  # Parquet's lists may come as arrays
    return prompt_text(messages, f"{where}prompt", keep_system=keep_system), split(solution, "")[1]


def _prompt(info: Any, where: str, key: str | None) -> Any:
    given = {name: value for name, value in info.items() if value is not None} if isinstance(info, Mapping) else {}
    found = [name for name in ((key,) if key else PROMPTS) if name in given]
    if len(found) == 1:
        return given[found[0]]
    wanted = f"'{key}'" if key else f"one of {', '.join(PROMPTS)}"
    raise DataError(
        f"{where}extra_info must hold the prompt as {wanted}, found: {', '.join(map(str, given)) or 'nothing'}; write "
        "it there when you make the training file, or name it with reward_kwargs.prompt_key"
    )
