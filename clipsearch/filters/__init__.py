"""Filters as people write them, made into messages of the API."""
