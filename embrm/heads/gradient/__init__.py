"""The one training loop of all gradient heads, and what it is made of: network, losses, replicates, blocks, stopping.

Heads themselves are files of `embrm.heads`; nothing here knows any of them by name.
"""
