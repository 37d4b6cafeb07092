"""What every user of a transformers checkpoint needs: loading, chat templates, tokens, batches that fit in memory.

What is done with a checkpoint belongs elsewhere: embedders, policies and rewards are rooms of their own.
"""
