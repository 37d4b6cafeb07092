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

from embrm.core.arrays import IntArray
from embrm.lm.checkpoint import quiet
from embrm.world.lm.tokenizer import ANSWER, CONTEXT, END, QUESTION, train_tokenizer
from embrm.world.world import Responses, World

BUCKET = 32  # batches whose texts are sorted by length, so that little of a batch is filler
STATEMENTS = ("correct", "wrong")  # attributes whose sentences belong to a topic
ROWS = 256  # tokens whose logits are in memory at once: they stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class LanguageModelTraining:
    """How the world's language model is trained.

    Attributes:
        width: of the residual stream.
        layers: of the transformer.
        steps: updates of the weights; every text is used once.
        until: the first texts say all they can of their topics, so that each of the many sentences that belong to one
            is met often; their share falls linearly, and after this part of the steps all texts are of π_ref.
        batch: texts a step.
        muon: step size of Muon (Jordan et al. 2024) on the weight matrices of the layers.
        adam: step size of Adam on embeddings and norms.
        warm_up: steps in which the step sizes grow; afterwards they fall linearly to zero.
        bfloat16: compute in bfloat16, which processors that have it do faster; the weights are kept in float32.
        save_every: steps between checkpoints.
    """

    width: int = 224
    layers: int = 3
    steps: int = 1600
    until: float = 0.7
    batch: int = 32
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
            on_step: called after each step with its number and its loss, in nats a token of the responses.
        """
        corpus = world.sample(4 * len(world.topics) * 16, seed=seed)
        tokenizer = train_tokenizer([*corpus.prompts, *corpus.texts])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = _network(tokenizer, width=self.width, layers=self.layers).train()
            optimisers = self._optimisers(net)
            low = copy.deepcopy(net).to(torch.bfloat16) if self.bfloat16 else net
            for step, rows in enumerate(self._batches(world, tokenizer, seed=seed)):
                loss = _gradients(low, rows, filler=tokenizer.pad_token_id)
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

    def _batches(self, world: World, tokenizer: Any, *, seed: int) -> Iterator[list[tuple[IntArray, int]]]:
        """Yield for each step its texts as tokens, and how many of them are the prompt's."""
        done, rng = 0, np.random.default_rng([seed, 1])
        while done < self.steps:
            written = self._texts(world, share=max(0.0, 1 - done / (self.until * self.steps)), rng=rng)
            asked = [f"{QUESTION}{prompt}{ANSWER}" for prompt in written.prompts]
            prompts = tokenizer(asked, add_special_tokens=False)["input_ids"]
            answers = tokenizer([f"{text}{END}" for text in written.texts], add_special_tokens=False)["input_ids"]
            rows = [(np.array([*p, *a][:CONTEXT]), len(p)) for p, a in zip(prompts, answers, strict=True)]
            rows.sort(key=lambda row: len(row[0]))
            for i in rng.permutation(BUCKET)[: self.steps - done].tolist():
                yield rows[i * self.batch : (i + 1) * self.batch]
                done += 1

    def _texts(self, world: World, *, share: float, rng: np.random.Generator) -> Responses:
        """Write texts for the next batches, a `share` of their statements as many as there can be."""
        chances = [
            (1 - share) * p + share * np.eye(len(p))[-1] if name in STATEMENTS else p
            for name, p in zip(world.attributes, world.reference, strict=True)
        ]
        n = self.batch * BUCKET
        counts = world.draw(n, rng=rng, probabilities=chances)
        return world.respond(rng.integers(len(world.topics), size=n), counts, rng=rng)

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


def _gradients(net: Any, rows: list[tuple[IntArray, int]], *, filler: int) -> float:
    """Add to the weights the gradients of the mean loss of a response, and return the mean loss of a token.

    Texts of a batch are equally long, so that a mean over tokens would make those of short texts count for more.
    """
    longest = max(len(tokens) for tokens, _ in rows)
    ids = torch.full((len(rows), longest), filler)
    counted = torch.zeros((len(rows), longest - 1), dtype=torch.bool)
    for i, (tokens, prompt) in enumerate(rows):
        ids[i, : len(tokens)] = torch.from_numpy(tokens)
        counted[i, prompt - 1 : len(tokens) - 1] = True
    # Fillers come last, so that no mask is needed.
    states = net.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[counted]
    targets, leaf, total = ids[:, 1:][counted], states.detach().requires_grad_(), 0.0
    for some, wanted in zip(leaf.split(ROWS), targets.split(ROWS), strict=True):
        loss = functional.cross_entropy(net.lm_head(some).float(), wanted, reduction="sum")
        (loss / len(rows)).backward()
        total += float(loss.detach())
    states.backward(leaf.grad)
    return total / len(targets)


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
