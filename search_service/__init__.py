"""The search service: points in, hits out; vectors live in Qdrant."""
