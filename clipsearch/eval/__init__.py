"""How good the answers of a collection are: queries with known right answers, asked and counted.

`queries` come from a file or are made of the collection's own captions or folders, `answers` finds the
points that a file names, `ask` asks by SearchBatch, `measures` counts, `run` joins these to the rows of a
table, `document` and `page` tell them. Only reads: an evaluation changes nothing in the services.
"""
