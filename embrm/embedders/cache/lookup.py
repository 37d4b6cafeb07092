"""The way of texts through the cache, for every embedder whose model is dear to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.embedders._embedder import Embedded, check_texts
from embrm.embedders.cache.shards import ShardRows
from embrm.embedders.cache.store import VectorStore, text_key

Compute = Callable[[Sequence[str]], Iterator[tuple[list[int], Array, BoolArray]]]


def embed_cached(texts: Sequence[str], identity: str, compute: Compute, *, progress: bool) -> Embedded:
    """Embed `n` texts as `(n, d)` float32: each text once, and none that the cache has.

    Args:
        texts: what to embed.
        identity: all that the vectors depend on beside the text.
        compute: yields (positions, vectors, cut) for the texts that it is given, in batches of any order.
        progress: whether to show a progress bar.

    Raises:
        DataError: there are no texts, or one of them is not a string that UTF-8 can hold.
        CacheError: the cache cannot be read, or was not writable when the work began.
    """
    keys = [text_key(content) for content in check_texts(texts)]
    wanted = dict(zip(keys, texts, strict=True))
    space = VectorStore(identity)
    parts = [space.read(list(wanted))]
    missing = wanted.keys() - set(parts[0].keys)
    if missing:
        parts += _fill(space, {key: text for key, text in wanted.items() if key in missing}, compute, progress)
    row = {key: i for i, key in enumerate(key for part in parts for key in part.keys)}
    at = np.array([row[key] for key in keys])
    vectors = np.concatenate([part.vectors for part in parts if part.keys])[at]
    return Embedded(vectors, cut=np.concatenate([part.cut for part in parts])[at], computed=len(missing))


def _fill(space: VectorStore, missing: dict[bytes, str], compute: Compute, progress: bool) -> list[ShardRows]:
    from tqdm import tqdm

    keys, texts, done = list(missing), list(missing.values()), list[ShardRows]()
    with space.writer() as write, tqdm(total=len(texts), unit="text", disable=not progress) as bar:
        for batch, vectors, cut in compute(texts):
            done.append(ShardRows([keys[i] for i in batch], vectors, cut))
            write(done[-1])
            bar.update(len(batch))
    return done
