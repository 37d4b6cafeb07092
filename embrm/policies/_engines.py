"""What writes completions: transformers on every device, or vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from embrm.core.arrays import IntArray
from embrm.errors import MissingExtraError
from embrm.lm.batching import Fitting, by_length, spread
from embrm.lm.checkpoint import Checkpoint, Conversation, Device, Precision, devices, in_bfloat16


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn: see `CausalLMPolicy`."""

    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Request:
    """One completion that is wanted: the prompt's tokens `(length,)`, and the seed of this completion alone."""

    tokens: IntArray
    seed: int


@dataclass(frozen=True)
class Completion:
    """One completion, and whether it ended by itself (else the limit of new tokens cut it)."""

    text: str
    ended: bool


class Engine(Protocol):
    """Writes completions, the same for a request whatever else is asked for."""

    conversation: Conversation
    limit: int

    def write(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion a request."""


class TransformersEngine:
    """transformers' `generate`, with a copy of the model on each device.

    Tokens are drawn with Gumbel noise (the largest of log-probability + Gumbel is an exact draw; Maddison et al.
    2014, A* Sampling) from a generator of each request's own, so that a text does not depend on its batch.
    """

    def __init__(
        self, checkpoint: Checkpoint, sampling: Sampling, *, precision: Precision, device: Device, batch_size: int
    ) -> None:
        self.conversation = Conversation(checkpoint.tokenizer())
        bfloat16 = in_bfloat16(precision, device=device)
        self._writers = [
            _Writer(checkpoint, self.conversation, sampling, device=place, bfloat16=bfloat16)
            for place in devices(device)
        ]
        self.limit = self.conversation.limit(self._writers[0].net)
        self._batch_size = batch_size

    def write(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion a request; see `Engine`."""
        out: dict[int, Completion] = {}
        batches = by_length([len(r.tokens) for r in requests], size=self._batch_size)
        for batch, done in spread(lambda w, b: w.write([requests[i] for i in b]), batches, workers=self._writers):
            out |= zip(batch, done, strict=True)
        return [out[i] for i in range(len(requests))]


class _Writer:
    """One copy of the model on a device."""

    def __init__(
        self, checkpoint: Checkpoint, conversation: Conversation, sampling: Sampling, *, device: str, bfloat16: bool
    ) -> None:
        from transformers import GenerationConfig

        self.net = checkpoint.network("AutoModelForCausalLM", device=device, bfloat16=bfloat16)
        self._conversation, self._sampling, self._device = conversation, sampling, device
        self._fitting = Fitting(device)
        own = self.net.generation_config.eos_token_id
        ends = [own] if isinstance(own, int) else list(own or [])
        self._ends = sorted({*ends, conversation.tokenizer.eos_token_id} - {None})
        # The model's own top-k, penalties and the like are left out: what is drawn is what the options say.
        self.net.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=self._ends or None,
            pad_token_id=conversation.filler,
            stop_strings=list(sampling.stop) or None,
        )

    def write(self, requests: Sequence[Request]) -> list[Completion]:
        lengths = [len(r.tokens) + self._sampling.max_new_tokens for r in requests]
        return self._fitting.run(self._generate, requests, lengths=lengths)

    def _generate(self, requests: list[Request]) -> list[Completion]:
        import torch

        inputs = self._conversation.batch([r.tokens for r in requests], left=True, device=self._device)
        del inputs["position_ids"]  # generate counts them itself
        noise = Gumbel([r.seed for r in requests], self._sampling, device=self._device)
        with torch.inference_mode():
            out = self.net.generate(**inputs, logits_processor=[noise], tokenizer=self._conversation.tokenizer)
        return [self._read(row) for row in out[:, inputs["input_ids"].shape[1] :].tolist()]

    def _read(self, tokens: list[int]) -> Completion:
        end = next((i for i, token in enumerate(tokens) if token in self._ends), len(tokens))
        text = self._conversation.tokenizer.decode(tokens[:end], skip_special_tokens=True)
        stops = [at for stop in self._sampling.stop if (at := text.find(stop)) >= 0]
        short = len(tokens) < self._sampling.max_new_tokens or tokens[-1] == self._conversation.filler
        return Completion(text[: min(stops)] if stops else text, ended=bool(stops) or short or end < len(tokens))


class Gumbel:
    """A logits processor that turns the largest score into a draw, from one generator a row."""

    def __init__(self, seeds: Sequence[int], sampling: Sampling, *, device: str) -> None:
        import torch
        from transformers import TopPLogitsWarper

        self._temperature = sampling.temperature
        self._nucleus = TopPLogitsWarper(sampling.top_p) if sampling.top_p < 1 else None
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores `(n, vocabulary)` whose largest is drawn from softmax(scores / temperature), cut at top-p."""
        import torch

        if self._temperature == 0:
            return scores
        scores = scores.float() / self._temperature
        if self._nucleus is not None:
            scores = self._nucleus(input_ids, scores)
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        noise.clamp_min_(torch.finfo(noise.dtype).eps / 2)  # a zero would win against everything
        return scores - noise.log()  # −log of an exponential is Gumbel


class VllmEngine:
    """vLLM on one GPU; it takes a seed a request, and batches by itself.

    Raises:
        MissingExtraError: vLLM is not installed.
        OptionError: the model cannot be loaded.
    """

    def __init__(self, checkpoint: Checkpoint, sampling: Sampling, *, precision: Precision) -> None:
        try:
            from vllm import LLM, SamplingParams
        except ImportError as error:
            raise MissingExtraError("engine 'vllm' needs vLLM: pip install 'embrm[vllm]'") from error
        self.conversation = Conversation(checkpoint.tokenizer())
        place = checkpoint.model if checkpoint.folder is None else str(checkpoint.folder)
        self._model = LLM(model=place, revision=checkpoint.revision, dtype=precision, seed=0)
        self._params, self._sampling = SamplingParams, sampling
        self.limit = int(self._model.llm_engine.model_config.max_model_len)

    def write(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion a request; see `Engine`."""
        s = self._sampling
        params = [
            self._params(
                temperature=s.temperature,
                top_p=s.top_p,
                max_tokens=s.max_new_tokens,
                stop=list(s.stop),
                seed=r.seed,
            )
            for r in requests
        ]
        prompts = [{"prompt_token_ids": r.tokens.tolist()} for r in requests]
        done = [found.outputs[0] for found in self._model.generate(prompts, params, use_tqdm=False)]
        return [Completion(one.text, ended=one.finish_reason != "length") for one in done]
