"""Smoothers that are linear in y: means shared by all experts, with leave-one-out moments in closed form."""

from .covariance import Covariance
from .smoother import Moments, Smoother, fit_smoother, log_evidence

__all__ = ["Covariance", "Moments", "Smoother", "fit_smoother", "log_evidence"]
