"""Heads as rewards of OpenRLHF: a `reward_func` for its file, and a server that answers its POST /get_reward.

OpenRLHF's `--reward.remote_url` (older: `--remote_rm_url`) takes a Python file that defines `reward_func`, or an
address. Its rewards are per sample; one that cannot be scored has none (NaN, over HTTP null) and a reason in `errors`,
and the others keep theirs. A file of two lines does:

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

from embrm.core.version import __version__
from embrm.errors import OptionError
from embrm.integrations._naming import model_name
from embrm.integrations._samples import ServerLimits, rewards_of, samples_of, texts_of
from embrm.integrations._scorer import TextScorer
from embrm.serving import check_extra

if TYPE_CHECKING:
    from embrm.embedders import Embedder
    from embrm.heads import FittedHead
    from embrm.selectors import Selector
    from embrm.serving.server import HttpServer

PATH = "/get_reward"

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
    keep_system: bool | None = None,
) -> Callable[..., dict[str, Any]]:
    """Return a function as OpenRLHF calls it: `(queries, prompts, labels, **others)` → tensors `(n,)` on the CPU.

    `rewards` are the rule's values. `scores`, which OpenRLHF's dynamic filtering expects inside (0, 1), are
    probabilities to be preferred to a text of the training texts' mean reward. `extra_logs` has `uncertainty`, the
    standard deviation over members or draws, and `truncated`, 1 where a text was longer than the embedder reads. Where
    a sample cannot be scored its numbers are NaN, and `errors` lists a reason or None for each.

    Args:
        model: the folder of a saved model, or a fitted head.
        embedder: what embeds the texts; None takes what the model was trained with.
        rule: a selector that values each text by itself; None is the mean over draws.
        keep_system: whether system messages stay in the prompts; None does as in the model's training texts.

    Raises:
        OptionError: see `TextScorer`. The function raises DataError where no sample of a call can be scored.
    """
    scorer = TextScorer(model, embedder=embedder, rule=rule)
    keep = scorer.keep_system if keep_system is None else keep_system

    def reward(
        queries: Sequence[str], prompts: Sequence[str] | None, labels: Sequence[Any] | None = None, **others: Any
    ) -> dict[str, Any]:
        import torch

        asked = samples_of(texts_of(queries, "queries"), prompts, keep_system=keep)
        found = rewards_of(scorer, asked)
        nan = float("nan")
        tensors = {name: torch.tensor([nan if v is None else v for v in values]) for name, values in found.items()}
        rewards = {name: tensors.pop(name) for name in ("rewards", "scores")}
        return {**rewards, "extra_logs": tensors} | ({"errors": asked.errors} if asked.failed else {})

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
    keep_system: bool | None = None,
) -> HttpServer:
    """Return a server that answers POST /get_reward inside `with server.running() as address`.

    A request is OpenRLHF's `{"query": [...], "prompts": [...] or null, "labels": anything}`, the answer
    `{"rewards": [...], "scores": [...], "extra_logs": {"uncertainty": [...], "truncated": [...]}}`, each with one
    number a query; see `make_reward_func`. Where some queries cannot be scored their numbers are null, and
    `"errors": [...]` has a reason or null for each. Or it is slime's
    `{"prompt": text or messages, "response": text, "label": anything}`, and the answer is the reward, a bare number.

    A refusal is `{"error": text}` with 400 (no HTTP, not JSON, not such a request, or nothing in it can be scored), 401
    (token), 403 (a foreign host or origin), 404, 405, 408 (the client fell silent), 411 (neither a length nor chunks),
    413 (too many bytes or texts), 415 (not declared as JSON), 431 (headers too long) or 500 (scoring failed). GET /
    says where rewards are, /health the model's name with the version of embrm, /metrics counts for Prometheus.

    Args:
        model: the folder of a saved model, or a fitted head.
        host: where to listen; where other machines can reach it, a token is required.
        port: 0 lets the system choose.
        token: what requests must bring, see `HttpServer`.
        limits: of a request, and the names it may call the server by; None is `ServerLimits()`.
        embedder: see `make_reward_func`.
        rule: see `make_reward_func`.
        keep_system: see `make_reward_func`.

    Raises:
        OptionError: the address cannot be listened at, or needs a token; else see `TextScorer`.
        MissingExtraError: the extra `serve` is not installed.
    """
    check_extra("embrm serve")
    from embrm.integrations._rewards import RewardApp
    from embrm.serving.server import HttpServer

    app = RewardApp(limits or ServerLimits(), {"model": model_name(model), "version": __version__})
    server = HttpServer(app.guarded, host=host, port=port, token=token, hosts=app.limits.hosts, path=PATH)
    try:  # a missing token or a taken port shows before a large embedder is loaded
        app.scorer = TextScorer(model, embedder=embedder, rule=rule)
        app.keep_system = app.scorer.keep_system if keep_system is None else keep_system
    except BaseException:
        server.server_close()
        raise
    return server
