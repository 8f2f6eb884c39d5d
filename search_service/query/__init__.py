"""A search, from its terms to its ranked points."""
