"""How good the answers of a collection are: queries with known right answers, asked and counted.

`queries` come from a file or are made of the collection's own captions or folders, `answers` finds the
points that a file names, `run` asks by SearchBatch, `measures` counts, `page` tells. Only reads: an
evaluation changes nothing in the services.
"""
