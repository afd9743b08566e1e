"""Engines: they see a log density and nothing above it."""
