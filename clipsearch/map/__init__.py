"""A look at a collection's embedding space: a map of its vectors, and the numbers beside it."""
