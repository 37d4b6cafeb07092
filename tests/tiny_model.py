"""A real sentence-transformers model made on the spot: a random BERT with a tokenizer trained on a few sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SENTENCES = [
    "The cat sat on the mat and looked at the moon.",
    "Boil the egg for six minutes, then cool it in cold water.",
    "A reward model scores how good an answer is.",
    "Questions deserve honest answers, short where short will do.",
]
LIMIT = 24  # tokens that the model reads, with the two special ones


def make_tiny_model(folder: Path, *, normalize: bool = True) -> Path:
    """Save the model in the folder and return it: 16 dimensions, `LIMIT` of at most 40 tokens."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel

    base = folder.parent / f"{folder.name}-base"
    words = BertWordPieceTokenizer()
    words.train_from_iterator(SENTENCES, vocab_size=200, show_progress=False)
    library: Any = transformers  # whose types do not know this name
    library.BertTokenizerFast(tokenizer_object=words._tokenizer).save_pretrained(base)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=200, max_position_embeddings=40, **shape)).save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=LIMIT)
    modules = [transformer, Pooling(16), *([Normalize()] if normalize else [])]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder
