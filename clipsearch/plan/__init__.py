"""Sizing: how many replicas, nodes and bytes a load needs, from measured costs and stated formulas.

Pure functions; only `simulate` needs SimPy (the extra `plan`).
"""
