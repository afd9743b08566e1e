"""A specification met with data: a log density that engines can read, and the PyMC model."""
