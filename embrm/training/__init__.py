"""What acts around a head: tuning its options, and rounds of mining texts that fool it.

The one loop that trains gradient heads is `embrm.heads.gradient`.
"""
