"""Choosing between models: how many experts, which of them, and weights of several."""
