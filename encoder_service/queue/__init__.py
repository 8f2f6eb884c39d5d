"""Admission, the batcher, and the cache of texts."""
