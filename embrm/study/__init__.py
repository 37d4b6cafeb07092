"""The grid of everything, its results and its claims."""
