"""Upserts, and the successors that get all writes too."""
