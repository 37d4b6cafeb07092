"""The live page: write a response, see what reward models and detectors say of it, and follow an optimised policy.

What is shown is computed by the packages below; this one asks them, and holds the page that a browser reads.
"""
