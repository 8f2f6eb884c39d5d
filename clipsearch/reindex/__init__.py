"""Moving a collection to a new model: a new collection is filled while the old one serves, then swapped in.

`move` makes or finds the new collection and links it, `backfill` fills it, `verify` compares the
two, `compare` tells how different their answers are. Nothing is kept on this side: a run that was
killed is resumed by running it again, and what the new collection has is not encoded again.
"""
