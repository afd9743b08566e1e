"""Saved fits: written by ``save``, read by ``load``."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from .binding.bind import bind
from .container.sealed import read_file
from .errors import InputError, SaveFileError, SpecError
from .posterior.average import FitAverage, read_fits, sharing_means
from .posterior.fit import Fit
from .posterior.saving import as_path, check_draws, read_saved, save
from .posterior.saving_average import is_average, read_average

__all__ = ["load", "save"]


def load(path: str | os.PathLike[str]) -> Fit | FitAverage:
    """Return a fit, or an average of fits, that its ``save`` wrote, with identical predictions.

    The file is read whole and closed, so that it may be replaced while the fit lives. Nothing in it is ever run.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    SaveFileError
        If there is no such file, it is damaged, changed, of another kind or of a later format; the message names the
        path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import bayes_moe as bm
    >>> data = bm.datasets.two_lines(100, seed=1)
    >>> fit = bm.fit(bm.MixtureOfExperts(2), data.X, data.y, bm.EM(starts=4, seed=1), progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fit.save(Path(folder, "fit.nc"))
    ...     again = bm.load(Path(folder, "fit.nc"))
    >>> again.predict(data.X).identical(fit.predict(data.X))
    True
    """
    place = as_path(path, "load")
    tree = read_file(place)
    if not is_average(tree):
        return _restored(tree, place)
    weights, origin, report, trees = read_average(tree, place)
    fits = dict(zip(weights, sharing_means([_restored(each, place) for each in trees]), strict=True))
    try:
        read_fits(fits)
    except (InputError, SpecError) as error:
        raise SaveFileError(f"load: expected a file written by .save, got {str(place)!r}: {error}") from error
    return FitAverage(fits, weights, origin, report=report)


def _restored(tree: xr.DataTree, place: Path) -> Fit:
    """Return the fit whose groups these are."""
    saved, idata = read_saved(tree, place)
    try:
        bound = bind(saved.model, saved.data, weights_of_network=saved.outcome.features)
        check_draws(bound, saved.outcome, saved.labels, idata)
    except (SpecError, SaveFileError) as error:
        raise SaveFileError(f"load: expected a file written by fit.save, got {str(place)!r}: {error}") from error
    return Fit(saved.engine, bound, saved.outcome, saved.labels, saved.status, idata)
