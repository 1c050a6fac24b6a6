"""Answers that were paid for once: a cache of model answers that runs and processes share."""

from clucert.cache.base import AnswerCache, CacheEntry, CacheStats
from clucert.cache.files import cache_stats, clear_cache, default_cache_path, export_cache, open_cache
from clucert.cache.keys import answer_key
from clucert.cache.location import CacheUrl
from clucert.redact import clean_base_url

__all__ = [
    "AnswerCache",
    "CacheEntry",
    "CacheStats",
    "CacheUrl",
    "answer_key",
    "cache_stats",
    "clean_base_url",
    "clear_cache",
    "default_cache_path",
    "export_cache",
    "open_cache",
]
