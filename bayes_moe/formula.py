"""Formulas, ``y ~ x1 + bs(x2, df=5) + C(site) | z``: columns of a frame, computed the same way at prediction.

`formulaic <https://matthewwardrop.github.io/formulaic>`_ parses them and computes the columns. What a saved fit holds
of a formula is its terms and the raw columns it was fitted on: the knots, means and levels of transformations are found
again from those, so that no state of another library is stored, and nothing but the listed functions is ever called.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bayes_moe.categories import as_labels
from bayes_moe.columns import FloatArray, rows_text
from bayes_moe.errors import InputError, Notice, listed, nearest
from bayes_moe.expressions import MOST_BASIS_COLUMNS, columns_in, missing_column
from bayes_moe.raw_columns import RawColumn, as_frame, complete, length, read_again, read_first
from bayes_moe.tables import column_names, pick_column, row_index

if TYPE_CHECKING:
    from formulaic import ModelSpec

Term = tuple[str, ...]
_WIDEST = 20_000
_BASIS = re.compile(r"\b(bs|cr|cs|cc|poly)\(")
_OFFSET = re.compile(r"offset\((.*)\)")
_CONTEXT = {"sqrt": np.sqrt, "abs": np.abs}


@dataclass(frozen=True, eq=False)
class Formula:
    """What a formula says of X and the gate, and what its transformations were fitted on.

    Parameters
    ----------
    text
        The formula as written.
    terms
        Terms of X, each by its factors: names of columns or expressions.
    gate_terms
        Terms after the bar, or None without one.
    carried
        Columns that the model itself names: trials, exposures, offsets.
    columns
        The raw columns.
    """

    text: str
    terms: tuple[Term, ...]
    gate_terms: tuple[Term, ...] | None
    carried: tuple[str, ...]
    columns: tuple[RawColumn, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for term in (*self.terms, *(self.gate_terms or ())):
            width = prod(self._width(factor, columns_in(factor, names)) for factor in term)
            if width > _WIDEST:
                raise InputError(
                    f"formula: expected at most {_WIDEST} columns of a term, got up to {width} of {':'.join(term)!r} → "
                    "leave out an interaction, or join levels"
                )
        for name in self.carried:
            if name not in names:
                raise missing_column(name, names)

    def _width(self, factor: str, read: tuple[str, ...]) -> int:
        """Return at most how many columns a factor has, before they are made."""
        columns = [column for column in self.columns if column.name in read]
        levels = [len(c.levels) if c.levels is not None else np.unique(c.values).size for c in columns]
        if factor in read and columns[0].levels is None:
            return 1
        widest = [MOST_BASIS_COLUMNS] if _BASIS.search(factor) else [1]
        return max(widest + (levels if "C(" in factor or factor in read else []))

    @cached_property
    def _fitted(self) -> tuple[ModelSpec, ModelSpec | None]:
        frame = as_frame(self.columns, [column.values for column in self.columns], length(self.columns))
        gate = None if self.gate_terms is None else _fit(self.gate_terms, frame)
        return _fit(self.terms, frame), gate

    def matrices(self, values: Sequence[FloatArray], rows: int) -> tuple[FloatArray, FloatArray | None]:
        """Return the columns of X and of the gate from raw columns (rows,), in the order of ``columns``."""
        frame = as_frame(self.columns, values, rows)
        own, gate = self._fitted
        carried = [np.asarray(frame[name], dtype=float) for name in self.carried]
        x = np.column_stack([_matrix(own, frame), *carried])
        return x, None if gate is None else _matrix(gate, frame)

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the columns of X and of the gate; one that stands in both is ``gate(name)`` there."""
        own, gate = self._fitted
        x = (*_names(own), *self.carried)
        return x, tuple(f"gate({name})" if name in x else name for name in (() if gate is None else _names(gate)))

    def table(self, X: Any) -> FloatArray:
        """Return all columns (n, p), those of X and then those of the gate, at rows of a new frame.

        Raises
        ------
        InputError
            For missing columns, missing values, levels that training had not, and rows where a term has no value.
        """
        known = column_names(X)
        for column in self.columns:
            if column.name not in known:
                raise InputError(
                    f"X: expected the columns of the formula {self.text!r}, got none named {column.name!r}"
                    f"{nearest(column.name, known)} → add or rename it"
                )
        values = [read_again(pick_column(X, column.name), column) for column in self.columns]
        for column, found in zip(self.columns, values, strict=True):
            if np.isnan(found).any():
                raise InputError(
                    f"X: expected a value in every row, got missing values in column {column.name!r} "
                    f"({rows_text(np.isnan(found))}) → leave out or fill these rows"
                )
        x, gate = self.matrices(values, len(X))
        table = x if gate is None else np.hstack([x, gate])
        _refuse_undefined(table, (*self.names[0], *self.names[1]), "X")
        return np.ascontiguousarray(table)


@dataclass(frozen=True, eq=False)
class FormulaData:
    """What a formula makes of a frame, as ``fit`` takes it.

    Parameters
    ----------
    table, y, gate
        Covariates, target and the gate's own covariates, or None; rows that miss a raw value miss every column.
    formula
        How to compute them again.
    offset
        Name of the column that is added to the experts' linear predictors, or None.
    notices
        Findings about the raw columns.
    """

    table: pd.DataFrame
    y: Any
    gate: pd.DataFrame | None
    formula: Formula
    offset: str | None
    notices: tuple[Notice, ...]


def read_formula(text: object, data: Any, carried: Sequence[str] = (), *, drop: bool = False) -> FormulaData:
    """Compute the columns of a formula from a frame.

    Parameters
    ----------
    text
        ``response ~ terms`` or ``response ~ terms | terms of the gate``.
    data
        A pandas, polars or pyarrow frame.
    carried
        Further columns that the model names.
    drop
        Whether rows may miss a value, which then are left out of everything that is fitted.

    Raises
    ------
    InputError
        For a formula that cannot be read, columns that are missing, missing values, an intercept left out, or functions
        that are not listed in `bayes_moe.expressions`.

    Examples
    --------
    >>> frame = pd.DataFrame({"y": [1.0, 2.0, 4.0], "x": [0.0, 1.0, 2.0], "site": ["a", "b", "b"]})
    >>> read_formula("np.log(y) ~ x + I(x**2) + site", frame).formula.names[0]
    ('x', 'I(x ** 2)', 'site[T.b]')
    """
    names = column_names(data)
    if not names:
        raise InputError(f"data: expected a frame with named columns, got {type(data).__name__} → pass a pandas frame")
    responses, terms, gate_terms, offset = _parsed(text, names)
    assert isinstance(text, str)
    own = dict.fromkeys(name for term in (*terms, *(gate_terms or ())) for f in term for name in columns_in(f, names))
    for name in carried:
        if name in names:  # what is missing is refused where the model names it
            own[name] = None
    kept = tuple(name for name in carried if name in names and (name,) not in terms)
    beside = tuple(name for response in responses for name in columns_in(response, names))
    found = {name: read_first(pick_column(data, name), name) for name in own}
    missing = np.zeros(len(data), dtype=bool)
    for name, (column, _) in found.items():
        incomplete = np.isnan(column.values)
        missing |= incomplete
        if incomplete.any() and not drop:
            raise InputError(
                f"data: expected a value in every row, got missing values in column {name!r} ({rows_text(incomplete)}) "
                "→ drop or fill these rows, or pass missing=Missing.DROP"
            )
        if name in kept and column.levels is not None:
            raise InputError(f"data: expected numbers in column {name!r}, got text or categories → pass numbers")
    for name in beside:
        missing |= np.array([label is None for label in as_labels(pick_column(data, name)) or ()], dtype=bool)
    if missing.all():
        raise InputError("data: expected rows without missing values, got none → fill the missing values")
    whole = tuple(complete(column, ~missing) for column, _ in found.values())
    formula = Formula(text, terms, gate_terms, kept, whole)
    x, gate = formula.matrices([column.values for column in whole], int((~missing).sum()))
    if not drop:
        for matrix, columns in zip((x, gate), formula.names, strict=True):
            _refuse_undefined(matrix, columns, "data")
    index: Any = row_index(data)
    spread = [_spread(matrix, missing) for matrix in (x, gate) if matrix is not None]
    frames = [pd.DataFrame(m, columns=list(n), index=index) for m, n in zip(spread, formula.names, strict=False)]
    outputs = [pick_column(data, r) if r in names else _target(r, data, missing, index) for r in responses]
    y: Any = outputs[0]
    if len(outputs) > 1:
        several = {r: np.asarray(output) for r, output in zip(responses, outputs, strict=True)}
        y = pd.DataFrame(several, index=index)
    notices = tuple(notice for _, notice in found.values() if notice is not None)
    return FormulaData(frames[0], y, frames[1] if gate is not None else None, formula, offset, notices)


def _parsed(
    text: object, names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Term, ...], tuple[Term, ...] | None, str | None]:
    """Return responses, terms of X, terms of the gate and the offset, which is a term of X; nothing is evaluated."""
    if not isinstance(text, str):
        raise InputError(f"formula: expected text such as 'y ~ x', got {type(text).__name__} → pass text")
    import formulaic  # half a second that `import bayes_moe` does not pay

    try:
        # what the dot stands for
        found: Any = formulaic.Formula(text, _context={"__formulaic_variables_available__": list(names)})
    except (formulaic.errors.FormulaicError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"formula: expected 'y ~ x1 + x2 | z', got {text!r} ({reason}) → correct it") from None
    left, right = getattr(found, "lhs", None), getattr(found, "rhs", None)
    if left is None or right is None or not list(left):
        raise InputError(f"formula: expected a response, as in 'y ~ x', got {text!r} → name it before the ~")
    responses = tuple(str(term) for term in left)
    for term in left:
        if len(term.factors) != 1 or str(term) == "1":
            raise InputError(f"formula: expected responses by themselves, got {term} → name columns, as in 'y ~ x'")
    parts = right if isinstance(right, tuple) else (right,)
    if len(parts) > 2:
        raise InputError(f"formula: expected at most one | before the gate's terms, got {len(parts) - 1} → use one")
    terms, offset = _without_offset(_terms(parts[0], text))
    if len(parts) == 1:
        return responses, terms, None, offset
    gate = _terms(parts[1], text)
    if not gate:
        raise InputError(
            "formula: expected terms of the gate after |, got an intercept alone → leave out the | and use "
            "gate=bm.SoftmaxGate(bm.Constant())"
        )
    if _without_offset(gate)[1] is not None:
        raise InputError(
            "formula: expected no offset after |, got one → what is added to every log weight changes no weight; leave "
            "it out"
        )
    return responses, terms, gate, offset


def _terms(part: Any, text: str) -> tuple[Term, ...]:
    """Return the terms without the intercept, which every predictor has anyway."""
    found = [tuple(str(factor.expr) for factor in term.factors) for term in part]
    if ("1",) not in found:
        raise InputError(
            f"formula: expected terms beside an intercept, got {text!r}, which leaves it out → remove the 0 or -1: "
            "experts and gate always have an intercept"
        )
    return tuple(term for term in found if term != ("1",))


def _without_offset(terms: Sequence[Term]) -> tuple[tuple[Term, ...], str | None]:
    """Return the terms with what an offset holds as a term of its own, and that term."""
    offsets = [factor for term in terms for factor in term if _OFFSET.fullmatch(factor)]
    if not offsets:
        return tuple(terms), None
    inside = str(_OFFSET.fullmatch(offsets[0])[1])  # type: ignore[index]
    if len(offsets) > 1 or (offsets[0],) not in terms:
        raise InputError(f"formula: expected one offset, by itself, got {listed(offsets)} → add the columns up")
    if (inside,) in terms:
        raise InputError(f"formula: expected {inside!r} as an offset or as a term, got both → leave one out")
    return tuple((inside,) if term == (offsets[0],) else term for term in terms), inside


def _fit(terms: Sequence[Term], frame: pd.DataFrame) -> ModelSpec:
    """Return formulaic's specification of terms and an intercept, fitted to a frame."""
    from formulaic import SimpleFormula  # as above
    from formulaic.parser.types import Factor
    from formulaic.parser.types import Term as ParsedTerm

    def factor(text: str) -> Any:
        return Factor(text, eval_method="lookup" if text in frame.columns else "python")

    whole = SimpleFormula(
        [ParsedTerm([Factor("1", eval_method="literal")]), *(ParsedTerm(list(map(factor, term))) for term in terms)]
    )
    spec: ModelSpec = _computed(lambda: whole.get_model_matrix(frame, **_OPTIONS)).model_spec
    return spec


_OPTIONS: Mapping[str, Any] = {"context": _CONTEXT, "na_action": "ignore", "output": "numpy"}


def _matrix(spec: ModelSpec, frame: pd.DataFrame) -> FloatArray:
    matrix = _computed(lambda: spec.get_model_matrix(frame, context=_CONTEXT))
    return np.asarray(matrix, dtype=np.float64)[:, 1:]


def _names(spec: ModelSpec) -> tuple[str, ...]:
    return tuple(map(str, spec.column_names[1:]))


def _computed(compute: Any) -> Any:
    """Evaluate terms; what a term cannot be computed from is an error of the data."""
    import formulaic  # as above

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", formulaic.errors.DataMismatchWarning)
            return compute()
    except formulaic.errors.DataMismatchWarning as error:
        unseen = str(error).partition("{")[2].partition("}")[0]
        raise InputError(
            f"formula: expected levels as in training, got others ({unseen}) → correct them, leave out these rows, or "
            "fit with rows of these levels"
        ) from None
    except (formulaic.errors.FormulaicError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"formula: expected terms that can be computed in every row, got {reason} → correct it"
        ) from None


def _spread(matrix: FloatArray, missing: npt.NDArray[np.bool_]) -> FloatArray:
    """Return a matrix of the complete rows at all rows, NaN where they miss a value."""
    if not missing.any():
        return matrix
    out = np.full((missing.size, matrix.shape[1]), np.nan)
    out[~missing] = matrix
    return out


def _target(response: str, data: Any, missing: npt.NDArray[np.bool_], index: Any) -> pd.Series[Any]:
    """Return a response that is computed from columns."""
    columns = [
        complete(read_first(pick_column(data, n), n)[0], ~missing) for n in columns_in(response, column_names(data))
    ]
    frame = as_frame(columns, [column.values for column in columns], length(columns))
    values = _matrix(_fit([(response,)], frame), frame)
    if values.shape[1] != 1:
        raise InputError(f"formula: expected a response of one number a row, got {response!r} → name one column")
    return pd.Series(_spread(values, missing)[:, 0], index=index, name=response)


def _refuse_undefined(table: FloatArray | None, names: Sequence[str], argument: str) -> None:
    """Refuse rows where a term has no finite value, as the logarithm of 0."""
    if table is None or np.isfinite(table).all():
        return
    bad = ~np.isfinite(table)
    j = int(np.flatnonzero(bad.any(axis=0))[0])
    raise InputError(
        f"{argument}: expected finite terms, got {table[bad[:, j], j][0]} for {names[j]!r} ({rows_text(bad[:, j])}) → "
        "leave out these rows, or another term"
    )
