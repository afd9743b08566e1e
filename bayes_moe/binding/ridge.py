r"""Bayesian ridge regression of one expert with a learned precision for every group of slopes.

With rows weighted by w (weight times responsibility over :math:`\sigma^2`), :math:`A = \Phi' W \Phi + \Lambda` and
:math:`\Lambda` holding one precision :math:`\lambda_g = \exp u_g` for all slopes of a group, the posterior of the
coefficients is :math:`N(m, A^{-1})`, and the logarithm of the evidence, with the prior of u,

.. math:: E(u) = \tfrac12 \log|\Lambda| - \tfrac12 \log|A| + \tfrac12 c' A^{-1} c - \sum_g (u_g - c_g)^2 / (2 \tau^2)

has the gradient :math:`(\gamma_g - \lambda_g m_g' m_g) / 2` plus that of the prior, where :math:`\gamma_g = p_g -
\lambda_g \operatorname{tr} A^{-1}_{gg}` is MacKay's (1992) effective number of slopes. Newton's method climbs it, each
step checked; where none helps, the EM step does, which cannot lower it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPREAD = 8.0
"""Prior standard deviation of a log precision, 4 of the log of a prior standard deviation: nearly flat, but proper."""
_LONGEST = 3.0  # a log precision moves no further in one step
_HALVINGS, _STEPS, _STILL = 4, 4, 1e-3


@dataclass(frozen=True, eq=False)
class RidgePrior:
    """Prior of the coefficients (1 + p,) of one expert.

    Parameters
    ----------
    loc
        Prior means.
    fixed
        Precisions of coefficients whose prior is stated.
    group
        To which of G groups a coefficient belongs whose precision is learned, else -1.
    centre
        (G,) prior means of the log precisions.
    """

    loc: np.ndarray
    fixed: np.ndarray
    group: np.ndarray
    centre: np.ndarray

    @property
    def groups(self) -> int:
        """Number of groups with learned precisions."""
        return len(self.centre)

    @property
    def sizes(self) -> np.ndarray:
        """Slopes of every group (G,)."""
        return np.bincount(self.group[self.group >= 0], minlength=self.groups)

    def precision(self, logs: np.ndarray) -> np.ndarray:
        """Return the precision of every coefficient given log precisions of the groups."""
        if not self.groups:
            return self.fixed
        return np.where(self.group >= 0, np.exp(logs)[self.group], self.fixed)

    def log_prior(self, logs: np.ndarray) -> float:
        """Return the log prior density of the log precisions."""
        z = (logs - self.centre) / SPREAD
        return float(-0.5 * z @ z - self.groups * np.log(SPREAD * np.sqrt(2.0 * np.pi)))

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Return sums over groups (G,) of values (1 + p,), or (G, G) of values (1 + p, 1 + p)."""
        belongs = (self.group[:, None] == np.arange(self.groups)).astype(float)
        return np.asarray(belongs.T @ values if values.ndim == 1 else belongs.T @ values @ belongs)


@dataclass(frozen=True, eq=False)
class RidgePosterior:
    """Posterior of the coefficients of one expert given log precisions.

    Parameters
    ----------
    logs
        (G,) log precisions.
    mean
        (1 + p,) means.
    root
        (1 + p, 1 + p) matrix R with covariance R R'.
    evidence
        Log evidence with the prior of the log precisions, up to what does not depend on them.
    divergence
        Kullback-Leibler divergence from prior to posterior of the coefficients.
    """

    logs: np.ndarray
    mean: np.ndarray
    root: np.ndarray
    evidence: float
    divergence: float


def posterior(prior: RidgePrior, square: np.ndarray, product: np.ndarray, logs: np.ndarray) -> RidgePosterior:
    """Return the posterior at given log precisions, from sums ``square`` = Φ'WΦ and ``product`` = Φ'Wy."""
    precision = prior.precision(logs)
    # in units of the prior's standard deviations the eigenvalues are 1 and more, whatever the precisions
    unit = 1.0 / np.sqrt(precision)
    matrix = square * unit[:, None] * unit
    matrix[np.diag_indices_from(matrix)] += 1.0
    factor = np.linalg.cholesky(matrix)
    inverse = np.linalg.inv(factor)
    right = inverse @ (unit * (product - square @ prior.loc))
    shift = inverse.T @ right
    half_log_det = float(np.log(np.diag(factor)).sum())
    evidence = -half_log_det + 0.5 * float(right @ right) + prior.log_prior(logs)
    divergence = 0.5 * float(np.sum(inverse**2) + shift @ shift - len(unit)) + half_log_det
    return RidgePosterior(logs, prior.loc + unit * shift, unit[:, None] * inverse.T, evidence, divergence)


def climb_evidence(prior: RidgePrior, square: np.ndarray, product: np.ndarray, logs: np.ndarray) -> RidgePosterior:
    """Return the posterior at log precisions of higher evidence than the given ones, or at these."""
    found = posterior(prior, square, product, logs)
    for _ in range(_STEPS if prior.groups else 0):
        step, refitted = _newton_step(prior, found)
        before, found = found, _highest(prior, square, product, found, step, refitted)
        if np.abs(found.logs - before.logs).max() < _STILL:
            break
    return found


def _highest(
    prior: RidgePrior,
    square: np.ndarray,
    product: np.ndarray,
    found: RidgePosterior,
    step: np.ndarray,
    refitted: np.ndarray,
) -> RidgePosterior:
    """Return the first of ever shorter steps that raises the evidence; else the EM step, if rounding lets it."""
    for _ in range(_HALVINGS):
        proposal = posterior(prior, square, product, found.logs + step)
        if proposal.evidence >= found.evidence:
            return proposal
        step = 0.25 * step
    proposal = posterior(prior, square, product, refitted)
    return proposal if proposal.evidence >= found.evidence else found


def _newton_step(prior: RidgePrior, found: RidgePosterior) -> tuple[np.ndarray, np.ndarray]:
    """Return Newton's step of the log precisions, and where the EM step leads."""
    covariance = found.root @ found.root.T
    shift = found.mean - prior.loc
    spent = prior.summed(shift**2 + np.diag(covariance))
    precisions = np.exp(found.logs)
    slope = 0.5 * (prior.sizes - precisions * spent) - (found.logs - prior.centre) / SPREAD**2
    mixed = prior.summed(np.outer(shift, shift) * covariance + 0.5 * covariance**2)
    bend = mixed * precisions[:, None] * precisions
    bend[np.diag_indices_from(bend)] -= 0.5 * precisions * spent + 1.0 / SPREAD**2
    values, vectors = np.linalg.eigh(bend)
    size = np.maximum(np.abs(values), 1.0 / SPREAD**2)
    step = np.clip(vectors @ ((vectors.T @ slope) / size), -_LONGEST, _LONGEST)
    return step, _refitted(prior, spent)


def _refitted(prior: RidgePrior, spent: np.ndarray) -> np.ndarray:
    """Maximise ``p u / 2 - exp(u) spent / 2 - (u - c)² / (2 τ²)``, concave in u, by Newton from the right."""
    u = np.log(prior.sizes / spent)
    for _ in range(50):
        pull = 0.5 * np.exp(u) * spent
        step = (0.5 * prior.sizes - pull - (u - prior.centre) / SPREAD**2) / (pull + 1.0 / SPREAD**2)
        u = u + np.clip(step, -_LONGEST, _LONGEST)
        if np.abs(step).max() < 1e-12:
            break
    return np.asarray(u)


def effective(prior: RidgePrior, found_root: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Return the effective number of slopes γ (G,) that rows decide, of every group."""
    return np.asarray(prior.sizes - np.exp(logs) * prior.summed(np.sum(found_root**2, axis=1)))
