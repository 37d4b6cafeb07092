"""What is measured of a fitted head: accuracy, best-of-n, paths, detection, training runs.

Which cells there are and who computes them is `embrm.study.runner`.
"""
