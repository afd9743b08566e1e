"""Posteriors against hand-written models in another system."""
