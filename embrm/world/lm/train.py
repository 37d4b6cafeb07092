"""The world's language model: a small Llama trained on texts of π_ref until it writes them by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from embrm.lm.checkpoint import quiet
from embrm.world.lm.targets import Lesson, Lessons
from embrm.world.lm.tokenizer import CONTEXT, train_tokenizer
from embrm.world.world import World

BUCKET = 16  # batches whose texts are sorted by length, so that little of a batch is filler
LAST = 0.25  # of the statements of other topics, what is left at the end
ROWS = 256  # tokens whose logits are in memory at once: they stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class LanguageModelTraining:
    """How the world's language model is trained.

    Attributes:
        width: of the residual stream.
        layers: of the transformer.
        steps: updates of the weights; every text is used once.
        foreign: statements of other topics in a text, on average, at the beginning; see `Lessons`.
        until: over this part of the steps their number falls to a quarter.
        batch: texts a step.
        muon: step size of Muon (Jordan et al. 2024) on the weight matrices of the layers.
        adam: step size of Adam on embeddings and norms.
        warm_up: steps in which the step sizes grow; afterwards they fall linearly to zero.
        bfloat16: compute in bfloat16, which processors that have it do faster; the weights are kept in float32.
        save_every: steps between checkpoints.
    """

    width: int = 224
    layers: int = 3
    steps: int = 700
    foreign: float = 2.0
    until: float = 0.7
    batch: int = 96
    muon: float = 0.02
    adam: float = 0.006
    warm_up: int = 30
    bfloat16: bool = True
    save_every: int = 100

    def train(
        self,
        world: World,
        folder: Path,
        *,
        seed: int,
        on_step: Callable[[int, float], None] | None = None,
    ) -> None:
        """Train tokenizer and model on fresh texts of π_ref, and write them to the folder in transformers' form.

        Args:
            world: writes the texts.
            folder: gets `model.safetensors` in float16, the configuration and the tokenizer.
            seed: determines texts and weights.
            on_step: called after each step with its number and its loss, in nats a token more than the least.
        """
        corpus = world.sample(4 * len(world.topics) * 16, seed=seed)
        tokenizer = train_tokenizer([*corpus.prompts, *corpus.texts])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = _network(tokenizer, width=self.width, layers=self.layers).train()
            optimisers = self._optimisers(net)
            low = copy.deepcopy(net).to(torch.bfloat16) if self.bfloat16 else net
            for step, lessons in enumerate(self._batches(world, tokenizer, seed=seed)):
                loss = _gradients(low, lessons, filler=tokenizer.pad_token_id)
                if low is not net:
                    for weight, other in zip(net.parameters(), low.parameters(), strict=True):
                        weight.grad, other.grad = other.grad.float(), None
                self._update(net, optimisers, step=step)
                if low is not net:
                    low.load_state_dict(net.state_dict())
                if on_step is not None:
                    on_step(step, loss)
                if (step + 1) % self.save_every == 0 or step + 1 == self.steps:
                    _save(net, tokenizer, folder)

    def _batches(self, world: World, tokenizer: Any, *, seed: int) -> Iterator[list[Lesson]]:
        """Yield the lessons of each step."""
        lessons, rng = Lessons(world, tokenizer), np.random.default_rng([seed, 1])
        for done in range(0, self.steps, BUCKET):
            share = max(LAST, 1 - done / (self.until * self.steps))
            n = self.batch * BUCKET
            written = world.respond(rng.integers(len(world.topics), size=n), world.draw(n, rng=rng), rng=rng)
            made = list(lessons.of(written, foreign=self.foreign * share, rng=rng))
            made.sort(key=lambda lesson: len(lesson.tokens))
            for i in rng.permutation(BUCKET)[: self.steps - done].tolist():
                yield made[i * self.batch : (i + 1) * self.batch]

    def _optimisers(self, net: Any) -> list[torch.optim.Optimizer]:
        inside = [p for name, p in net.named_parameters() if p.ndim == 2 and "embed" not in name]
        matrices = set(inside)
        others = [p for p in net.parameters() if p not in matrices]
        return [
            torch.optim.Muon(inside, lr=self.muon, weight_decay=0.0),
            torch.optim.AdamW(others, lr=self.adam, betas=(0.9, 0.98), weight_decay=0.0),
        ]

    def _update(self, net: Any, optimisers: list[torch.optim.Optimizer], *, step: int) -> None:
        left = min(1.0, (step + 1) / self.warm_up) * (1 - step / self.steps)
        for optimiser, size in zip(optimisers, (self.muon, self.adam), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = size * left
            optimiser.step()
            optimiser.zero_grad()


def _gradients(net: Any, lessons: list[Lesson], *, filler: int) -> float:
    """Add to the weights the gradients of the mean loss of a response, and return by how much a token's is too high.

    Texts of a batch are equally long, so that a mean over tokens would make those of short texts count for more.
    """
    ids = torch.full((len(lessons), max(len(lesson.tokens) for lesson in lessons)), filler)
    certain = torch.zeros(ids.shape, dtype=torch.bool)
    for i, lesson in enumerate(lessons):
        ids[i, : len(lesson.tokens)] = torch.from_numpy(lesson.tokens)
        certain[i, : len(lesson.tokens)] = torch.from_numpy(lesson.certain)
    # Fillers come last, so that no mask is needed.
    states = net.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    choices = [(i, choice) for i, lesson in enumerate(lessons) for choice in lesson.choices]
    chances = torch.zeros(len(choices), net.config.vocab_size)
    for to, (_, choice) in zip(chances, choices, strict=True):
        to.index_add_(0, torch.from_numpy(choice.tokens), torch.from_numpy(choice.chances).float())
    free = states[[i for i, _ in choices], [choice.at - 1 for _, choice in choices]]
    parts, total = [states[certain[:, 1:]], free], float(torch.xlogy(chances, chances).sum())
    leaves = [part.detach().requires_grad_() for part in parts]
    for leaf, targets in zip(leaves, (ids[certain], chances), strict=True):
        for some, wanted in zip(leaf.split(ROWS), targets.split(ROWS), strict=True):
            loss = functional.cross_entropy(net.lm_head(some).float(), wanted, reduction="sum")
            (loss / len(lessons)).backward()
            total += float(loss.detach())
    torch.autograd.backward(parts, [leaf.grad for leaf in leaves])
    return total / sum(map(len, leaves))


def _network(tokenizer: Any, *, width: int, layers: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: Any = LlamaConfig  # its types leave out what every configuration takes
    config = shape(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=CONTEXT,
        attn_implementation="eager",  # at these lengths quicker on a processor than the fused ones
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _save(net: Any, tokenizer: Any, folder: Path) -> None:
    with quiet():
        tokenizer.save_pretrained(folder)
        # The output layer is the embedding, which need not be there twice.
        weights = {name: weight.half() for name, weight in net.state_dict().items() if name != "lm_head.weight"}
        net.save_pretrained(folder, state_dict=weights)
