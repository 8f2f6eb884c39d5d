"""Writes: upserts, deletes, payloads, and the successors that get them too."""
