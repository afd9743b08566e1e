"""Benchmarks: one question a script, each printing a small table and writing JSON to ``out/benchmarks``."""
