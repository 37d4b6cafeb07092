"""A causal language model as a policy: N responses a prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

from embrm.errors import DataError, OptionError
from embrm.lm.checkpoint import Checkpoint, Device, Precision, Prompt, devices, in_bfloat16
from embrm.policies._engines import Completion, Engine, Request, Sampling, TransformersEngine, VllmEngine


@dataclass(frozen=True)
class CausalLMPolicy:
    """Responses of a causal language model, drawn from softmax(logits / temperature) and nothing else.

    The prompt goes through the model's chat template; without one, a text is continued as it is. A model's own settings
    for sampling (top-k, penalties) are left out, so that the policy is the one that KL bounds of best-of-n speak of.
    Each response has a seed of its own, made of `seed`, the prompt's id and its number: the same texts come whatever
    the batches (on one kind of device, up to rounding), and whether or not a run was resumed.

    Attributes:
        model: the path of a folder, or an id on the Hugging Face hub.
        revision: branch, tag or commit on the hub.
        engine: "transformers", or "vllm" on a GPU (extra `vllm`), whose texts for a seed are others.
        temperature: 1 draws as the model was trained, less prefers what is likely, 0 takes the likeliest.
        top_p: the share of probability that is drawn from, the likeliest tokens first (Holtzman et al. 2020).
        max_new_tokens: tokens at most of a response.
        stop: a response ends before the first of these strings.
        precision: "auto" is bfloat16 on GPUs that have it, else float32.
        device: "cuda" and "auto" take all visible GPUs.
        batch_size: responses written at once on a device; halved where memory runs out.
    """

    model: str
    revision: str | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    precision: Precision = "auto"
    device: Device = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        Checkpoint(self.model, self.revision)
        if self.engine not in ("transformers", "vllm"):
            raise OptionError(f"engine must be one of transformers, vllm, got '{self.engine}'")
        if not self.temperature >= 0:
            raise OptionError(f"temperature must be at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise OptionError(f"top_p must be in (0, 1], got {self.top_p}")
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not isinstance(self.stop, tuple) or "" in self.stop:
            raise OptionError(f"stop must be a tuple of strings that are not empty, got {self.stop!r}")

    def respond(
        self, prompts: Sequence[Prompt], *, n: int, seed: int, ids: Sequence[str] | None = None
    ) -> list[list[Completion]]:
        """Return `n` completions a prompt.

        Args:
            prompts: texts, or lists of messages.
            n: completions a prompt.
            seed: determines them, together with the ids.
            ids: names of the prompts, all different; their numbers unless given.

        Warns:
            MemoryWarning: memory ran out, and smaller batches were used.

        Raises:
            DataError: there are no prompts, an id is used twice, a prompt leaves no room for `max_new_tokens`, or is a
                list of messages for a model without a chat template.
            OptionError: the model cannot be loaded, the device is not there, a single text does not fit into its
                memory, or `n` is not positive, or more than 1 at temperature 0.
            MissingExtraError: the engine is not installed.
        """
        ids = self.check(prompts, n=n, ids=ids)
        engine = _engine(self, Checkpoint(self.model, self.revision).stamps())
        tokens = engine.conversation.tokens([engine.conversation.text(prompt) for prompt in prompts])
        for name, found in zip(ids, tokens, strict=True):
            if len(found) + self.max_new_tokens > engine.limit:
                raise DataError(
                    f"prompt '{name}' has {len(found)} tokens, which with max_new_tokens={self.max_new_tokens} is more "
                    f"than the {engine.limit} that the model reads; shorten it or lower max_new_tokens"
                )
        done = engine.write(
            [Request(t, _seed(seed, name, j)) for t, name in zip(tokens, ids, strict=True) for j in range(n)]
        )
        return [done[i : i + n] for i in range(0, len(done), n)]

    @property
    def recipe(self) -> dict[str, object]:
        """All that the texts depend on beside seed and prompts, ready for JSON."""
        options = {k: v for k, v in asdict(self).items() if k not in ("precision", "device", "batch_size")}
        kind = devices(self.device)[0].partition(":")[0]
        bfloat16 = in_bfloat16(self.precision, device=self.device)
        return options | {"device": kind, "bfloat16": bfloat16, "files": Checkpoint(self.model, self.revision).stamps()}

    def release(self) -> None:
        """Let go of the model, so that the memory is free for another."""
        _engine.cache_clear()

    def check(self, prompts: Sequence[Prompt], *, n: int, ids: Sequence[str] | None) -> Sequence[str]:
        """Return the ids of the prompts, or raise DataError or OptionError as `respond` does, without any model."""
        if len(prompts) == 0:
            raise DataError("there are no prompts; at least one is needed")
        if n < 1 or (n > 1 and self.temperature == 0):
            raise OptionError(f"n must be at least 1, and 1 at temperature 0, where all responses are one; got {n}")
        ids = [str(i) for i in range(len(prompts))] if ids is None else ids
        if len(ids) != len(prompts) or len(set(ids)) != len(ids):
            raise DataError(f"ids must name the {len(prompts)} prompts, each another, got {len(set(ids))} different")
        return ids


def _seed(seed: int, name: str, number: int) -> int:
    """Return 63 bits that no other response shares."""
    digest = hashlib.blake2b(json.dumps([seed, name, number]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@lru_cache(maxsize=1)
def _engine(policy: CausalLMPolicy, stamps: object) -> Engine:
    """Load the model; files that were changed are another model under the same name."""
    checkpoint = Checkpoint(policy.model, policy.revision)
    sampling = Sampling(policy.temperature, policy.top_p, policy.max_new_tokens, policy.stop)
    if policy.engine == "vllm":
        return VllmEngine(checkpoint, sampling, precision=policy.precision)
    return TransformersEngine(
        checkpoint, sampling, precision=policy.precision, device=policy.device, batch_size=policy.batch_size
    )
