"""Which Python expressions a formula may hold: a short list of functions of columns, and nothing else.

Formulas evaluate the expressions in them. What is not on the list is refused by name before anything is evaluated,
in a formula that a user wrote and in one that a file holds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

from bayes_moe.errors import InputError, listed, nearest

FUNCTIONS = (
    *("bs", "cr", "cs", "cc", "poly", "C", "I", "scale", "center"),
    *("log", "log2", "log10", "exp", "sqrt", "abs"),
)
"""What a formula may call by its plain name."""

_MEMBERS = {
    "np": ("log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tan", "tanh"),
    "contr": ("treatment", "sum", "helmert", "diff", "poly"),
}
_BASES = ("bs", "cr", "cs", "cc", "poly")
MOST_BASIS_COLUMNS = 100
_LONGEST, _HIGHEST, _LARGEST = 500, 20, 1e15
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_QUOTED = re.compile(r"`([^`]*)`")


def columns_in(expression: str, names: Collection[str]) -> tuple[str, ...]:
    """Return the columns that an expression reads, each once.

    Parameters
    ----------
    expression
        A name, or Python in which odd names stand in backticks.
    names
        The columns there are.

    Raises
    ------
    InputError
        For a column that is missing, and for anything but calls of the listed functions, arithmetic, comparisons and
        constants.

    Examples
    --------
    >>> columns_in("log(dose) * age", ["age", "dose"])
    ('dose', 'age')
    >>> columns_in("eval('1')", [])
    Traceback (most recent call last):
    bayes_moe.errors.InputError: formula: expected functions among bs, cr, cs, cc, poly and 10 more, got 'eval' ...
    """
    if expression in names:
        return (expression,)
    if len(expression) > _LONGEST:
        raise InputError(
            f"formula: expected terms of at most {_LONGEST} characters, got {len(expression)} → shorten it"
        )
    quoted: dict[str, str] = {}

    def placed(found: re.Match[str]) -> str:
        quoted[f"quoted_{len(quoted)}_"] = found[1]
        return list(quoted)[-1]

    try:
        tree = ast.parse(_QUOTED.sub(placed, expression), mode="eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(
            f"formula: expected an expression of columns, got {expression!r} ({error}) → correct it"
        ) from None
    return tuple(dict.fromkeys(quoted.get(name, name) for name in _Walk(names, quoted).read(tree.body)))


class _Walk:
    """Goes through an expression and yields the columns it reads; refuses what is not on the lists."""

    def __init__(self, names: Collection[str], quoted: dict[str, str]) -> None:
        self.names, self.quoted = names, quoted

    def read(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Name):
            yield self._column(node.id)
        elif isinstance(node, ast.Constant):
            self._constant(node)
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.Attribute):
            self._member(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
            yield from self._operation(node)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            yield from self.read(node.operand)
        elif isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                yield from self.read(side)
        elif isinstance(node, ast.List | ast.Tuple):
            for element in node.elts:
                yield from self.read(element)
        else:
            raise InputError(
                f"formula: expected functions of columns, got {ast.unparse(node)[:60]!r} → compute a column of it first"
            )

    def _column(self, name: str) -> str:
        found = self.quoted.get(name, name)
        if found not in self.names:
            raise missing_column(found, self.names)
        return name

    @staticmethod
    def _constant(node: ast.Constant) -> None:
        value = node.value
        number = isinstance(value, int | float) and abs(value) <= _LARGEST
        if not (number or value is None or (isinstance(value, str) and len(value) <= _LONGEST)):
            raise InputError(f"formula: expected numbers and text, got {repr(value)[:60]} → leave it out")

    def _call(self, node: ast.Call) -> Iterator[str]:
        function = node.func
        if isinstance(function, ast.Attribute):
            self._member(function)
        elif not isinstance(function, ast.Name) or function.id not in FUNCTIONS:
            name = ast.unparse(function)[:60]
            raise InputError(
                f"formula: expected functions among {listed(FUNCTIONS)}, got {name!r}{nearest(name, FUNCTIONS)} → "
                "compute a column of it first"
            )
        elif function.id in _BASES:
            self._width(node)
        for argument in node.args:
            yield from self.read(argument)
        for keyword in node.keywords:
            yield from self.read(keyword.value)

    @staticmethod
    def _width(node: ast.Call) -> None:
        """Refuse bases of so many columns that building them would fill the memory."""
        given = [*node.args[1:], *(k.value for k in node.keywords if k.arg in ("df", "degree"))]
        for value in given:
            if isinstance(value, ast.Constant) and isinstance(value.value, int) and value.value > MOST_BASIS_COLUMNS:
                raise InputError(
                    f"formula: expected at most {MOST_BASIS_COLUMNS} columns of a basis, got {value.value} → lower it"
                )

    @staticmethod
    def _member(node: ast.Attribute) -> None:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if node.attr not in _MEMBERS.get(owner, ()):
            known = _MEMBERS.get(owner, _MEMBERS["np"])
            raise InputError(
                f"formula: expected functions such as np.{listed(known, 4)}, got {ast.unparse(node)[:60]!r}"
                f"{nearest(node.attr, known)} → compute a column of it first"
            )

    def _operation(self, node: ast.BinOp) -> Iterator[str]:
        read = [*self.read(node.left), *self.read(node.right)]
        if not read:
            raise InputError(f"formula: expected columns, got {ast.unparse(node)[:60]!r} → write the number itself")
        if isinstance(node.op, ast.Pow):
            power = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
            value = power.value if isinstance(power, ast.Constant) else None
            if not isinstance(value, int | float) or value > _HIGHEST:
                raise InputError(
                    f"formula: expected a power of at most {_HIGHEST}, got {ast.unparse(node)[:60]!r} → lower it"
                )
        yield from read


def missing_column(name: str, names: Collection[str]) -> InputError:
    """Return the error for a formula that names a column that is not there."""
    return InputError(
        f"formula: expected names of the data's columns {listed(map(repr, names), 12)}, got {name!r}"
        f"{nearest(name, names)} → correct the name"
    )
