"""Where responses come from: pools and their exact tilts, the grammar of the world, causal language models.

A policy gets its reward as a plain function; it knows no head and no embedder.
"""
