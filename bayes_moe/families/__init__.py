"""Expert families: p(y | parameters), one file each."""

from .base import Closure, Family, Parameter, Role, Support
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial, check_trials
from .categorical import Categorical
from .gamma import Gamma
from .joint import Joint
from .log_normal import LogNormal
from .mv_normal import Covariance, MvNormal
from .negative_binomial import NegativeBinomial
from .normal import Normal
from .ordinal import Ordinal
from .poisson import Poisson
from .skew_normal import SkewNormal
from .student_t import StudentT
from .uniform import Uniform
from .weibull import Weibull
from .zero_inflated import ZeroInflated

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Closure",
    "Covariance",
    "Family",
    "Gamma",
    "Joint",
    "LogNormal",
    "MvNormal",
    "NegativeBinomial",
    "Normal",
    "Ordinal",
    "Parameter",
    "Poisson",
    "Role",
    "SkewNormal",
    "StudentT",
    "Support",
    "Uniform",
    "Weibull",
    "ZeroInflated",
    "check_trials",
]
