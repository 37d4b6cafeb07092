"""Heads as rewards of OpenRLHF: a `reward_func` for its file, and a server that answers its POST /get_reward.

OpenRLHF's `--reward.remote_url` (older: `--remote_rm_url`) takes a Python file that defines `reward_func`, or an
address. A file of two lines does:

    from embrm.integrations.openrlhf import make_reward_func
    reward_func = make_reward_func("/where/the/model/is")

So does the path of this module itself, with the model's folder in the environment variable EMBRM_MODEL. For an address
run `embrm serve`, or `reward_server` from Python.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embrm.errors import DataError, OptionError
from embrm.integrations._chat import split
from embrm.integrations._scorer import Scored, TextScorer
from embrm.integrations._server import RewardServer, ServerLimits, too_large

if TYPE_CHECKING:
    from embrm.embedders import Embedder
    from embrm.heads import FittedHead
    from embrm.selectors import Selector

__all__ = ["ServerLimits", "make_reward_func", "reward_func", "reward_server"]

_loading = threading.Lock()
_loaded: dict[str, Callable[..., dict[str, Any]]] = {}


def reward_func(
    queries: Sequence[str], prompts: Sequence[str] | None, labels: Sequence[Any] | None = None, **others: Any
) -> dict[str, Any]:
    """Reward responses with the model that the environment variable EMBRM_MODEL names; see `make_reward_func`.

    Raises:
        OptionError: the variable is not set.
    """
    folder = os.environ.get("EMBRM_MODEL")
    if not folder:
        raise OptionError("set the environment variable EMBRM_MODEL to the folder of a saved model")
    with _loading:  # the trainer calls from several threads
        if folder not in _loaded:
            _loaded[folder] = make_reward_func(folder)
    return _loaded[folder](queries, prompts, labels, **others)


def make_reward_func(
    model: str | Path | FittedHead,
    *,
    embedder: Embedder | None = None,
    rule: Selector | None = None,
    keep_system: bool = False,
) -> Callable[..., dict[str, Any]]:
    """Return a function as OpenRLHF calls it: `(queries, prompts, labels, **others)` → tensors `(n,)` on the CPU.

    `rewards` are the rule's values. `scores`, which OpenRLHF's dynamic filtering expects inside (0, 1), are
    probabilities to be preferred to a text of the training texts' mean reward. `extra_logs` has `uncertainty`, the
    standard deviation over members or draws, and `truncated`, 1 where a text was longer than the embedder reads.

    Args:
        model: the folder of a saved model, or a fitted head.
        embedder: what embeds the texts; None takes what the model was trained with.
        rule: a selector that values each text by itself; None is the mean over draws.
        keep_system: whether system messages stay in the prompts.

    Raises:
        OptionError: see `TextScorer`.
    """
    scorer = TextScorer(model, embedder=embedder, rule=rule)

    def reward(
        queries: Sequence[str], prompts: Sequence[str] | None, labels: Sequence[Any] | None = None, **others: Any
    ) -> dict[str, Any]:
        import torch

        found = _as_lists(_score(scorer, _texts(queries, "queries"), prompts, keep_system=keep_system))
        logs = {name: torch.tensor(values) for name, values in found.pop("extra_logs").items()}
        return {**{name: torch.tensor(values) for name, values in found.items()}, "extra_logs": logs}

    return reward


def reward_server(
    model: str | Path | FittedHead,
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    token: str | None = None,
    limits: ServerLimits | None = None,
    embedder: Embedder | None = None,
    rule: Selector | None = None,
    keep_system: bool = False,
) -> RewardServer:
    """Return a server that answers POST /get_reward inside `with server.running() as address`.

    A request is `{"query": [...], "prompts": [...] or null, "labels": anything}`, the answer `{"rewards": [...],
    "scores": [...], "extra_logs": {"uncertainty": [...], "truncated": [...]}}`, each with one number a query; see
    `make_reward_func`. A refusal is `{"error": text}` with 400 (not JSON, or not such a request), 401 (token), 404,
    405, 408 (the client fell silent), 411 (no length), 413 (too many bytes or texts), 415 (not declared as JSON) or 500
    (scoring failed).

    Args:
        model: the folder of a saved model, or a fitted head.
        host: where to listen; where other machines can reach it, a token is required.
        port: 0 lets the system choose.
        token: what requests must bring, see `RewardServer`.
        limits: of a request; None is `ServerLimits()`.
        embedder: see `make_reward_func`.
        rule: see `make_reward_func`.
        keep_system: see `make_reward_func`.

    Raises:
        OptionError: the address cannot be listened at, or needs a token; else see `TextScorer`.
    """
    most = limits or ServerLimits()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        queries, prompts = _texts(body.get("query"), "query"), body.get("prompts")
        if len(queries) > most.texts:
            raise too_large(f"query has {len(queries)} texts, and at most {most.texts} are scored; split the request")
        return _as_lists(_score(scorer, queries, prompts, keep_system=keep_system))

    server = RewardServer(answer, host=host, port=port, token=token, max_bytes=most.size)
    try:  # a missing token or a taken port shows before a large embedder is loaded
        scorer = TextScorer(model, embedder=embedder, rule=rule)
    except BaseException:
        server.server_close()
        raise
    return server


def _score(scorer: TextScorer, queries: Sequence[str], prompts: Any, *, keep_system: bool) -> Scored:
    if prompts is not None and len(_texts(prompts, "prompts")) != len(queries):
        raise DataError(f"prompts must be as many as queries, got {len(prompts)} and {len(queries)}")
    asked, responses = [], []
    for i, query in enumerate(queries):
        try:
            prompt, response = split(query, None if prompts is None else prompts[i], keep_system=keep_system)
        except DataError as error:
            raise DataError(f"query {i}: {error}") from None
        asked.append(prompt)
        responses.append(response)
    return scorer(responses, asked)


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"{name} must be a list of at least one text, got {type(value).__name__}")
    for i, text in enumerate(value):
        if not isinstance(text, str):
            raise DataError(f"{name} must be a list of texts, but number {i} is {type(text).__name__}")
    return list(value)


def _as_lists(scored: Scored) -> dict[str, Any]:
    logs = {"uncertainty": scored.uncertainty.tolist(), "truncated": scored.cut.tolist()}
    return {"rewards": scored.reward.tolist(), "scores": scored.score.tolist(), "extra_logs": logs}
