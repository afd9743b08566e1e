"""Specifications and engines as JSON text, and back."""

from __future__ import annotations

from collections.abc import Mapping

from . import families, gates, predictors, priors, smoothing
from .experts import Expert
from .inference.advi import ADVI
from .inference.em import EM
from .inference.guides import FullRank, MeanField
from .inference.laplace import Laplace
from .inference.nuts import NUTS
from .inference.training import Training
from .inference.variational_em import VariationalEM
from .mixture import MixtureOfExperts
from .records import Record, Schema, parse_json, record, write_json
from .transforms import Power

Engine = EM | Laplace | ADVI | NUTS | Training | VariationalEM

_EXPERT = Record(
    Expert,
    {"family": families.Family, "predictors": Mapping[str, predictors.Predictor]},
    lambda parts: Expert(parts["family"], **parts["predictors"]),
)
# Every class that a specification or an engine may hold, under its public name. A new one is one line more.
SPECIFICATIONS: Mapping[str, Record] = {
    "MixtureOfExperts": record(MixtureOfExperts),
    "Expert": _EXPERT,
    "Normal": record(families.Normal),
    "Bernoulli": record(families.Bernoulli),
    "Beta": record(families.Beta),
    "Binomial": record(families.Binomial),
    "Categorical": record(families.Categorical),
    "Covariance": record(families.Covariance),
    "Gamma": record(families.Gamma),
    "Joint": record(families.Joint),
    "LogNormal": record(families.LogNormal),
    "MvNormal": record(families.MvNormal),
    "NegativeBinomial": record(families.NegativeBinomial),
    "Ordinal": record(families.Ordinal),
    "Poisson": record(families.Poisson),
    "SkewNormal": record(families.SkewNormal),
    "StudentT": record(families.StudentT),
    "Uniform": record(families.Uniform),
    "Weibull": record(families.Weibull),
    "ZeroInflated": record(families.ZeroInflated),
    "Constant": record(predictors.Constant),
    "HSGP": record(predictors.HSGP),
    "Kernel": record(predictors.Kernel),
    "Linear": record(predictors.Linear),
    "Polynomial": record(predictors.Polynomial),
    "Products": record(predictors.Products),
    "Sum": record(predictors.Sum),
    "MLP": record(predictors.MLP),
    "Activation": record(predictors.Activation),
    "RBF": record(predictors.RBF),
    "Spline": record(predictors.Spline),
    "KernelMean": record(smoothing.KernelMean),
    "SoftmaxGate": record(gates.SoftmaxGate),
    "EqualGate": record(gates.EqualGate),
    "GaussianGate": record(gates.GaussianGate),
    "StickBreakingGate": record(gates.StickBreakingGate),
    "TreeGate": record(gates.TreeGate),
    "Power": record(Power),
    "priors.Normal": record(priors.Normal),
    "priors.LearnedScale": record(priors.LearnedScale),
    "EM": record(EM),
    "Laplace": record(Laplace),
    "ADVI": record(ADVI),
    "NUTS": record(NUTS),
    "Training": record(Training),
    "VariationalEM": record(VariationalEM),
    "FullRank": record(FullRank),
    "MeanField": record(MeanField),
}
_SCHEMA = Schema(SPECIFICATIONS)


def to_json(specification: MixtureOfExperts | Engine) -> str:
    """Return a model or an engine as JSON text.

    Raises
    ------
    SaveFileError
        If something inside has no place in a file, such as a generator as seed.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> to_json(bm.EM(starts=20, seed=1))
    '{"class": "EM", "starts": 20, "max_iter": 500, "tol": 1e-08, "seed": 1}'
    """
    return write_json(_SCHEMA.encode(specification))


def from_json(text: str | bytes) -> MixtureOfExperts | Engine:
    """Return the model or engine that ``to_json`` wrote.

    Nothing but the constructors of the listed classes is called, and these check what they are given.

    Raises
    ------
    SaveFileError
        If the text is anything else; the message names the place.

    Examples
    --------
    >>> import bayes_moe as bm
    >>> from_json(to_json(bm.MixtureOfExperts(2))) == bm.MixtureOfExperts(2)
    True
    """
    value: MixtureOfExperts | Engine = _SCHEMA.decode(parse_json(text), MixtureOfExperts | Engine)
    return value
