"""A detector along a run, once, for every caller, and what its alarm is worth.

Detectors themselves are `embrm.detectors`; the report only draws what is said here.
"""
