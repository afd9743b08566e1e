"""Bayesian mixtures of experts: EM, Laplace, ADVI and NUTS on one log density."""

from importlib import import_module
from typing import Any

from . import datasets, priors, scores
from .automatic import auto_fit
from .choosing.criteria import BIC, ICL, LOO, Criterion, KFold
from .choosing.select import select
from .choosing.selection import Selection
from .choosing.stack import stack
from .data import Missing
from .errors import (
    BayesMoEError,
    EMDecreased,
    FitWarning,
    InputError,
    InterruptedFit,
    MissingExtraError,
    NotFittedError,
    NumericalError,
    SaveFileError,
    SpecError,
)
from .experts import Expert
from .families import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Covariance,
    Gamma,
    Joint,
    LogNormal,
    MvNormal,
    NegativeBinomial,
    Normal,
    Ordinal,
    Poisson,
    SkewNormal,
    StudentT,
    Uniform,
    Weibull,
    ZeroInflated,
)
from .fitting import build, fit
from .gates import EqualGate, GaussianGate, SoftmaxGate, StickBreakingGate, TreeGate
from .inference.advi import ADVI
from .inference.em import EM
from .inference.guides import FullRank, MeanField
from .inference.laplace import Laplace
from .inference.nuts import NUTS
from .inference.training import Training
from .inference.variational_em import VariationalEM
from .mixture import MixtureOfExperts
from .posterior.average import FitAverage, average
from .posterior.compare import compare
from .posterior.fit import Fit
from .predictors import HSGP, MLP, RBF, Activation, Constant, Kernel, Linear, Polynomial, Products, Spline, Sum
from .presets import hierarchical_moe, mixture_density_network, nearly_flat
from .scaling import Scaling
from .smoothing import KernelMean
from .storage import load
from .transforms import Power

__version__ = "0.1.0"

__all__ = [
    "ADVI",
    "BIC",
    "EM",
    "HSGP",
    "ICL",
    "KFold",
    "LOO",
    "MLP",
    "NUTS",
    "RBF",
    "Activation",
    "BayesMoEError",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Constant",
    "Covariance",
    "Criterion",
    "EMDecreased",
    "EqualGate",
    "Expert",
    "Fit",
    "FitAverage",
    "FitWarning",
    "FullRank",
    "Gamma",
    "GaussianGate",
    "Joint",
    "InputError",
    "InterruptedFit",
    "Kernel",
    "KernelMean",
    "Laplace",
    "Linear",
    "LogNormal",
    "MeanField",
    "Missing",
    "MissingExtraError",
    "MixtureOfExperts",
    "MvNormal",
    "NegativeBinomial",
    "Normal",
    "NotFittedError",
    "NumericalError",
    "Ordinal",
    "Poisson",
    "Polynomial",
    "Power",
    "Products",
    "SaveFileError",
    "Scaling",
    "Selection",
    "SkewNormal",
    "SoftmaxGate",
    "SpecError",
    "Spline",
    "StickBreakingGate",
    "StudentT",
    "Sum",
    "Training",
    "TreeGate",
    "Uniform",
    "VariationalEM",
    "Weibull",
    "ZeroInflated",
    "auto_fit",
    "average",
    "build",
    "compare",
    "datasets",
    "fit",
    "load",
    "hierarchical_moe",
    "mixture_density_network",
    "nearly_flat",
    "plots",
    "priors",
    "scores",
    "select",
    "stack",
]


def __getattr__(name: str) -> Any:
    if name == "plots":
        try:
            import_module("matplotlib")
        except ImportError as error:
            raise MissingExtraError(
                "bm.plots needs matplotlib, which is not installed → pip install 'bayes_moe[plots]'"
            ) from error
        return import_module(".plots", __name__)
    raise AttributeError(f"module 'bayes_moe' has no attribute {name!r}")
