"""A byte-level BPE tokenizer of the world's texts, with a chat template and tokens of its own for beginning and end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

VOCABULARY = 4000
CONTEXT = 256  # tokens of prompt and response
PAD, QUESTION, ANSWER, END = "<|pad|>", "<|question|>", "<|answer|>", "<|end|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + '" + END + "' }}"
    "{% else %}{{ '" + QUESTION + "' + message['content'] + '" + ANSWER + "' }}{% endif %}"
    "{% endfor %}"
)


def train_tokenizer(texts: Iterable[str]) -> Any:
    """Return transformers' fast tokenizer with byte-level BPE merges (Sennrich et al. 2016) learned from the texts.

    A blank is put before every part between special tokens, and taken away again in decoding, so that a word is the
    same token at the beginning of a text as in the middle.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    blank = decoders.Strip(" ", left=1, right=0)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), blank])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, QUESTION, ANSWER, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    made: Any = PreTrainedTokenizerFast  # without types
    return made(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
