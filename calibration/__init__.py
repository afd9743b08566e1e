"""Simulation-based calibration: whether posteriors hold what made the data as often as they say.

Parameters are drawn from the prior and data from the parameters, both by PyMC from the model that `bayes_moe.build`
returns; each data set is fitted, and the rank of what is true among the draws of the fit is uniform if and only if
all of that agrees (Talts et al. 2018; Modrák et al. 2023, for quantities that depend on the data).

    python -m calibration run [--engine nuts] [--replications 500] [name ...]
    python -m calibration recovery [--engine nuts] [--replications 200] [design ...]
    python -m calibration report

The second fits fixed truths again and again. Both go on where they stopped.
"""
