"""Smoothers that are linear in y: means shared by all experts, with leave-one-out moments in closed form."""

from .covariance import Covariance
from .kernel_mean import LOG_SD, MEAN, KernelMean, SharedMean, fit_mean
from .smoother import Moments, Smoother, fit_smoother, log_evidence

__all__ = [
    "LOG_SD",
    "MEAN",
    "Covariance",
    "KernelMean",
    "Moments",
    "SharedMean",
    "Smoother",
    "fit_mean",
    "fit_smoother",
    "log_evidence",
]
