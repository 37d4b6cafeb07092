"""What a study is run on: the shipped world, pools and preferences of the user's, pools that a language model writes.

Each opens from one part of the configuration and identifies itself for the keys of its cells.
"""
