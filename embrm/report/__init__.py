"""Figures and the one-file HTML report: they read results and draw them, and compute nothing that a claim needs.

What is drawn comes from `embrm.study`, `embrm.evaluation` and `embrm.monitoring`.
"""
