"""The grid of data sets, heads, rules and detectors, computed once and kept: configuration, runner, measures, claims.

How results look is `embrm.report`.
"""
