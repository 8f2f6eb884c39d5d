"""Sizing: how many replicas, nodes and bytes a load needs, from measured costs and stated formulas.

Pure functions, which import nothing of the project; only `simulate` needs SimPy (the extra `plan`).
"""
