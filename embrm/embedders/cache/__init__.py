"""Vectors that were made once: shards on disk that two processes may write, and the way of texts through them."""

from embrm.embedders.cache.store import CacheInfo, cache_folder, info, prune

__all__ = ["CacheInfo", "cache_folder", "info", "prune"]
