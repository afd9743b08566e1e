"""What a choice was between, as a table and in words."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import pandas as pd

from ..posterior.criteria import likelihood_parameters
from ..posterior.fit import Fit
from .candidates import Key
from .criteria import Score

_COUNTS = ("experts", "coefficients", "high_k", "refits")


def table(fits: Mapping[Key, Fit], scores: Mapping[Key, Score], best: Key, *, by_count: bool) -> pd.DataFrame:
    """Return a row per model: its size, its score, and how far that lies below the best one."""
    rows = []
    for key, fit in fits.items():
        score = scores[key]
        behind, error = score.behind(scores[best])
        row: dict[str, object] = {} if by_count else {"experts": len(fit.model.experts)}
        row |= {"coefficients": likelihood_parameters(fit.bound)} | dict(score.columns)
        row["behind"] = behind
        if score.pointwise is not None:
            row["behind_se"] = error
        row["converged"] = fit.status.converged
        rows.append(row)
    index = pd.Index(list(fits), name="experts" if by_count else "model")
    return pd.DataFrame(rows, index=index)


def as_html(sentences: tuple[str, ...], shown: pd.DataFrame, chosen: Key) -> str:
    """Return sentences above the table, with the row of the chosen model marked; everything escaped."""
    first, *others = sentences
    columns = "".join(f"<th>{escape(str(name))}</th>" for name in (shown.index.name, *shown.columns))
    body = []
    for key, row in shown.iterrows():
        cells = "".join(f"<td>{escape(_cell(name, value))}</td>" for name, value in row.items())
        style = " style='font-weight:bold'" if key == chosen else ""
        body.append(f"<tr{style}><th>{escape(str(key))}</th>{cells}</tr>")
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in others)
    return (
        f"<div><p><strong>{escape(first)}</strong></p><ul>{notes}</ul><table><thead><tr>{columns}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def as_text(shown: pd.DataFrame) -> str:
    """Return the table as lines of text."""
    formats = {name: (lambda value, name=name: _cell(name, value)) for name in shown.columns}
    return str(shown.to_string(formatters=formats))


def _cell(name: object, value: object) -> str:
    if isinstance(value, bool) or name == "converged":
        return "yes" if value else "no"
    if name in _COUNTS:
        return f"{value:.0f}"
    return f"{value:.1f}"
