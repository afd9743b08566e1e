"""The reference models are no tests, and need NumPyro to be imported."""

collect_ignore = ["in_numpyro.py"]
