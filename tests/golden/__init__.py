"""Saved fits that every later version must load, and what they predicted when they were saved."""
