"""Which cells a study has, what they cost, who computes them, and the folder in which they are kept.

What is measured in a cell is `embrm.study.measures`.
"""
