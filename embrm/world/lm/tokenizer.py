"""A tokenizer of phrases, and of pieces of words where it meets others, with tokens for beginning and end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

VOCABULARY = 4000
PHRASE = 10  # words at most
PIECES = 700  # tokens that are bytes or pieces of words, at least
CONTEXT = 256  # tokens of prompt and response
PAD, QUESTION, ANSWER, END = "<|pad|>", "<|question|>", "<|answer|>", "<|end|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + '" + END + "' }}"
    "{% else %}{{ '" + QUESTION + "' + message['content'] + '" + ANSWER + "' }}{% endif %}"
    "{% endfor %}"
)


def train_tokenizer(texts: Iterable[str]) -> Any:
    """Return transformers' fast tokenizer: byte-level BPE (Sennrich et al. 2016), in which frequent phrases are tokens.

    Sentences are cut into phrases of ten words. The most frequent ones of the texts are tokens as they are, without
    merges that make them, as words are in Llama 3; all else is made of merges within words. So a sentence has the same
    two or three tokens wherever it stands, and any other text has tokens too. A blank is put before every part between
    special tokens, and taken away again in decoding.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special, written = [PAD, QUESTION, ANSWER, END], list(texts)
    phrases = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"(?<=[.!?:]) "), "merged_with_next"),
            pre_tokenizers.Split(Regex(rf"(?:\s*\S+){{1,{PHRASE}}}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
        ]
    )
    counts = Counter(phrase for text in written for phrase, _ in phrases.pre_tokenize_str(text))
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    known = [phrase for phrase, _ in counts.most_common(VOCABULARY - PIECES)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(known),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(written, trainer)
    state = json.loads(pieces.to_str())["model"]
    vocabulary = state["vocab"]
    for phrase in known:
        vocabulary.setdefault(phrase, len(vocabulary))
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = phrases
    blank = decoders.Strip(" ", left=1, right=0)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), blank])
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
