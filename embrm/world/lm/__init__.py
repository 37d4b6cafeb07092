"""The world's language model: a tokenizer and a small transformer, trained on texts of π_ref."""
