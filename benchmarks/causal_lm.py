"""How fast a causal language model embeds: tokens a second, and the share of its bare matrix products.

    python benchmarks/causal_lm.py [texts a batch, 32 by default] [smallest]

The model is a Llama of random weights: 1.0 billion parameters in bfloat16 on a GPU, 25 million in float32 on a CPU. Its
bare matrix products are those of all its layers on the same number of tokens, one after the other, with nothing between
them. Everything is timed in one run, in turns, and the best round counts. `embed` is the whole way from texts to
vectors in the cache, on all visible GPUs; `forward` the model's batches alone, by transformers itself, on one. Then it
says how much memory that took, whether batches are halved where a GPU lets this process have a tenth of it, and how
fast responses are written, by vLLM too where it is installed. `smallest` does what of that a CPU can, on a toy: that it
runs is seen there, and nothing else.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from timing import best

from embrm.embedders.causal_lm import CausalLM
from embrm.lm.batching import MemoryWarning
from embrm.lm.checkpoint import Checkpoint, Conversation, call, devices
from embrm.policies.causal_lm import CausalLMPolicy

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.tiny_models import tokenizer

ROUNDS = 3
WORDS = "the moon river recipe answer question committee neighbour teacher bridge quickly slowly never"
LENGTH = 512  # tokens of every text
LARGE = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32}
SMALL = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
WRITTEN = 64  # tokens of each response


def save(folder: Path, shape: dict[str, Any]) -> None:
    """Save a model of random weights in bfloat16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**shape, num_key_value_heads=4, vocab_size=2048, max_position_embeddings=LENGTH)
    torch.manual_seed(0)
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def texts(count: int, conversation: Conversation) -> list[str]:
    """Return texts of `LENGTH` tokens, all different."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(count):
        tokens = conversation.tokens([" ".join(rng.choice(WORDS.split(), LENGTH))])[0][1:LENGTH]
        out.append(conversation.tokenizer.decode(tokens))
    return out


def products(net: Any, rows: int) -> Callable[[], None]:
    """Return what multiplies `rows` tokens by every matrix of the model's layers, and waits for the end."""
    weights = [m.weight for m in net.layers.modules() if isinstance(m, torch.nn.Linear)]
    inputs = {w.shape[1]: torch.randn(rows, w.shape[1], dtype=w.dtype, device=w.device) for w in weights}

    def run() -> None:
        with torch.inference_mode():
            for weight in weights:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        if weights[0].is_cuda:
            torch.cuda.synchronize()

    return run


def halved(embedder: CausalLM, some: list[str]) -> str:
    """Say how often batches are halved where all texts are one, and the process may have a tenth of the GPU."""
    os.environ["EMBRM_CACHE"] = tempfile.mkdtemp()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.1)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always", MemoryWarning)
            done = replace(embedder, batch_size=len(some)).embed(some).computed
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    told = [str(warning.message) for warning in seen if issubclass(warning.category, MemoryWarning)]
    return f"a tenth of the memory, a batch of {len(some)}: {done} texts, {len(told)} halvings; {' | '.join(told)}"


def written(model: str, size: int, *, engines: list[Literal["transformers", "vllm"]]) -> Iterator[str]:
    """Yield how fast each engine writes responses of equal length, its start aside."""
    prompts = [f"{word} {other}" for word in WORDS.split() for other in WORDS.split()][:size]
    for engine in engines:
        policy = CausalLMPolicy(model, max_new_tokens=WRITTEN, batch_size=size, engine=engine)
        policy.respond(prompts[:2], n=1, seed=0)
        start = time.perf_counter()
        tokens = WRITTEN * len(policy.respond(prompts, n=1, seed=1))
        yield f"{engine} writes at most {tokens / (time.perf_counter() - start):.0f} tokens/s, {size} responses at once"
        policy.release()


def main() -> None:
    """Print the figures."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    smallest = "smallest" in sys.argv[2:]
    cuda = torch.cuda.is_available() and not smallest
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model", TOY if smallest else LARGE if cuda else SMALL)
        embedder = CausalLM(str(Path(folder) / "model"), device="cuda" if cuda else "cpu", batch_size=size)
        checkpoint = Checkpoint(embedder.model)
        conversation = Conversation(checkpoint.tokenizer())
        batches = 32 if cuda else 2
        some = texts(batches * size, conversation)
        count = sum(map(len, conversation.tokens(some)))
        rounds = iter(range(100))

        def embed() -> None:
            os.environ["EMBRM_CACHE"] = f"{folder}/cache{next(rounds)}"
            assert embedder.embed(some).computed == len(some)

        embed()  # loads the model
        place = devices(embedder.device)[0]
        net = checkpoint.network("AutoModel", device=place, bfloat16=cuda)
        rows = conversation.tokens(some)
        starts = range(0, len(rows), size)
        bare = products(net, size * LENGTH)

        def forward() -> None:
            for i in starts:
                out = call(net, conversation.batch(rows[i : i + size], left=False, device=place))
                out.last_hidden_state[:, -1].float().cpu()

        whole, model, matrices = best(
            embed, forward, lambda: [bare() for _ in starts], rounds=1 if smallest else ROUNDS
        )
        memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
        there = find_spec("vllm") is not None and cuda
        more = [halved(embedder, some)] if cuda else []
        more += written(embedder.model, size, engines=["transformers", "vllm"] if there else ["transformers"])
        weights = sum(m.weight.numel() for m in net.layers.modules() if isinstance(m, torch.nn.Linear))
        parameters = sum(p.numel() for p in net.parameters())
    where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{where}; {parameters / 1e6:.0f} M parameters in {net.dtype}; {len(some)} texts of {LENGTH} tokens by {size}"
    )
    print("| what | tokens/s | TFLOP/s of the products | share of the bare products |\n|---|--:|--:|--:|")
    for name, seconds in (("embed", whole), ("forward", model), ("bare products", matrices)):
        rate = count / seconds
        print(f"| {name} | {rate:.0f} | {2 * weights * rate / 1e12:.3g} | {matrices / seconds:.2f} |")
    print(*([f"largest memory of these: {memory:.1f} GiB"] if cuda else []), *more, sep="\n")
    if not there:
        print("vLLM: not installed, or no GPU")


if __name__ == "__main__":
    main()
