"""Groups of near-equal points of a collection.

`near` finds the pairs, exactly, `groups` reads the vectors and tells the groups, `page` shows them. Nothing
is changed or deleted here.
"""
