"""Real transformers models made on the spot: a two-layer Llama with random weights and a tokenizer of the world's text.

They are saved in a folder and loaded by its path, like any model; making one takes a fraction of a second.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

WORLD = Path(__file__).parent.parent / "data" / "world.yaml"
LIMIT = 512  # tokens that the models read
# ChatML, the form of several open families; `generation` marks what a trainer may learn from.
CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def causal_lm(folder: Path, *, pad: bool = True, chat: bool = True) -> Path:
    """Save a causal language model and its tokenizer in the folder, and return it.

    Args:
        folder: made where it does not exist.
        pad: whether the tokenizer has a pad token.
        chat: whether it has a chat template.
    """
    from transformers import LlamaForCausalLM

    return _save(folder, LlamaForCausalLM, pad=pad, chat=chat)


def reward_model(folder: Path, *, labels: int = 1, pad: bool = True, chat: bool = True) -> Path:
    """Save a sequence-classification model with so many logits and its tokenizer in the folder, and return it."""
    from transformers import LlamaForSequenceClassification

    return _save(folder, LlamaForSequenceClassification, pad=pad, chat=chat, num_labels=labels)


def tokenizer(*, pad: bool = True, chat: bool = True) -> Any:
    """Return the tokenizer of both."""
    from transformers import PreTrainedTokenizerFast

    made: Any = PreTrainedTokenizerFast  # without types
    words = made(
        tokenizer_object=_tokens(),
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<pad>" if pad else None,
        model_max_length=LIMIT,
    )
    words.chat_template = CHAT if chat else None
    return words


def _save(folder: Path, kind: Any, *, pad: bool, chat: bool, **options: Any) -> Path:
    import torch
    from transformers import LlamaConfig
    from transformers.utils import logging

    progress: Any = logging
    words = tokenizer(pad=pad, chat=chat)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LIMIT,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        initializer_range=0.2,  # wider than is usual: an untrained model should still tell texts apart
        **options,
    )
    progress.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@cache
def _tokens() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<pad>", "<s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokens.train_from_iterator(WORLD.read_text(encoding="utf-8").splitlines(), trainer)
    tokens.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokens
