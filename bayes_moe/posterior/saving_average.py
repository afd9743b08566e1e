"""How an average of fits becomes a file: every fit as ``save`` writes it, in a group of its own, and the weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr

from ..container.sealed import write_file
from ..errors import SaveFileError
from ..records import parse_json, write_json
from .saving import DOCUMENT, FORMAT, GROUP, Saveable, as_path, groups_of, refuse_later, text_of

_FITS = "fits"
_KEYS = {"names", "weights", "origin", "report"}


class SaveableAverage(Protocol):
    """What saving asks of an average."""

    @property
    def fits(self) -> Mapping[str, Saveable]:
        """The fits by name."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Their weights."""

    @property
    def origin(self) -> str:
        """Where the weights come from."""

    @property
    def report(self) -> str:
        """What was chosen and why."""


def save_average(average: SaveableAverage, path: str | os.PathLike[str]) -> None:
    """Save an average of fits as one netCDF file; see `bayes_moe.posterior.saving.save`."""
    place = as_path(path, "save")
    told = {
        "names": list(average.fits),
        "weights": list(average.weights.values()),
        "origin": average.origin,
        "report": average.report,
    }
    document = write_json({"format": FORMAT, "average": told})
    groups = {f"/{GROUP}": xr.Dataset({DOCUMENT: ((), np.bytes_(document.encode()))})}
    for position, fit in enumerate(average.fits.values()):
        groups |= {f"/{_FITS}/{position}{name.rstrip('/')}": group for name, group in groups_of(fit, place).items()}
    write_file(place, xr.DataTree.from_dict(groups))


def is_average(tree: xr.DataTree) -> bool:
    """Return whether a file says that it holds an average."""
    return _FITS in tree.children


def read_average(tree: xr.DataTree, path: Path) -> tuple[dict[str, float], str, str, list[xr.DataTree]]:
    """Return the weights by name, where they come from, the report, and the tree of every fit.

    Raises
    ------
    SaveFileError
        If they contradict each other, or the file is of a later format.
    """
    try:
        if GROUP not in tree.children or DOCUMENT not in tree[GROUP].data_vars:
            raise SaveFileError(f"expected a group {GROUP!r} with a {DOCUMENT!r}, got none: this is no saved average")
        text = parse_json(text_of(tree[GROUP].to_dataset()[DOCUMENT]))
        if not isinstance(text, dict) or text.keys() != {"format", "average"}:
            raise SaveFileError("expected a format and an average, got other entries")
        refuse_later(text)
        told = text["average"]
        if not isinstance(told, dict) or told.keys() != _KEYS or not isinstance(told["origin"], str):
            raise SaveFileError(f"average: expected {sorted(_KEYS)}, got other entries")
        if not isinstance(told["report"], str):
            raise SaveFileError("average.report: expected a text, got something else")
        names, weights = _named(told["names"], told["weights"])
        found = tree[_FITS].children
        places = [str(position) for position in range(len(names))]
        if set(found) != set(places):
            raise SaveFileError(f"average: expected {len(names)} fits, as there are names, got {len(found)}")
    except SaveFileError as error:
        raise SaveFileError(f"load: expected a file written by .save, got {str(path)!r}: {error}") from error
    trees = [
        xr.DataTree.from_dict({name: node.to_dataset(inherit=False) for name, node in each.subtree_with_keys})
        for each in (found[place] for place in places)
    ]
    return dict(zip(names, weights, strict=True)), told["origin"], told["report"], trees


def _named(names: object, weights: object) -> tuple[list[str], list[float]]:
    """Return distinct names and the weights of a whole."""
    if not isinstance(names, list) or not isinstance(weights, list) or not names or len(names) != len(weights):
        raise SaveFileError("average: expected as many weights as names, at least one")
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise SaveFileError("average.names: expected distinct texts, got others")
    numbers = [float(weight) for weight in weights if isinstance(weight, int | float)]
    if len(numbers) < len(weights) or min(numbers) < 0 or not abs(sum(numbers) - 1.0) < 1e-6:
        raise SaveFileError(f"average.weights: expected numbers of at least 0 with sum 1, got {weights!r}")
    return names, numbers
