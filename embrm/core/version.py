"""The version: what a saved model and a study's keys name."""

__version__ = "0.1.0"
