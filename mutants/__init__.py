"""Planted bugs: whether the tests can fail.

    python -m mutants [number ...]

copies the package and its tests, plants one bug at a time, and runs the test files that should notice. Every bug must
be caught; the table says by which test.
"""
