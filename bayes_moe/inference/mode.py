"""The mode that approximations start from."""

from __future__ import annotations

import numpy as np

from ..errors import InterruptedFit, Notice, NumericalError
from ..log_density import Latent, LogDensity
from .em import EM
from .newton import newton
from .outcome import Optimum, Outcome, Status
from .progress import Report


def find_mode(
    engine: str,
    density: LogDensity,
    start: np.ndarray | None,
    starts: int | None,
    seed: int,
    report: Report | None,
) -> Outcome:
    """Return a point fit: by EM where there are latent labels, otherwise by Newton's method.

    Parameters
    ----------
    engine
        Name of the engine that asks, for messages.
    density
        The log density.
    start
        Climb from here instead of searching; without one, Newton's method begins at zero.
    starts
        Number of EM's short runs; None: EM's default.
    seed
        Seed of EM's starts.
    report
        Where progress goes.

    Raises
    ------
    NumericalError
        If the density is not finite where Newton's method begins.
    InterruptedFit
        If there was no mode yet when the interrupt came.
    """
    if isinstance(density, Latent):
        return EM(starts=starts, seed=seed).run(density, start=start, report=report)
    begin = np.zeros(density.size) if start is None else np.asarray(start, dtype=float)
    value = density.logp(begin)
    if not np.isfinite(value):
        where = "at zero" if start is None else "at the start"
        raise NumericalError(
            f"{engine}: expected a finite log density {where}, got {value} → pass a start where it is finite"
        )
    try:
        found = newton(density, begin)
    except KeyboardInterrupt:
        raise InterruptedFit(f"{engine} was interrupted before it found the mode → call fit again") from None
    optimum = Optimum(found.q, found.log_density, found.decrement, found.smallest_eigenvalue, (), 1, "start", 0)
    notices: tuple[Notice, ...] = ()
    if not found.maximum:
        notices = (
            Notice(
                "not_stationary",
                f"Newton's method ended at a decrement of {found.decrement:.2g}, above 1e-6, or at no "
                f"maximum (smallest eigenvalue {found.smallest_eigenvalue:.2g}): start elsewhere",
            ),
        )
    return Outcome(
        draws=found.q[None, None, :],
        status=Status.CONVERGED if found.maximum else Status.NOT_CONVERGED,
        notices=notices,
        mode=found.q,
        optima=(optimum,),
        facts={"seed": seed, "decrement": found.decrement, "smallest_eigenvalue": found.smallest_eigenvalue},
        point=True,
    )
