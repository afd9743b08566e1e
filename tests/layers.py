"""The rules of the house: which module may import which, which library lives where, what no file may hold.

``findings(path, source)`` returns every breach of one file as (rule, sentence). It reads the source with
``ast`` and imports nothing; ``test_structure.py`` applies it to the package, and to bad sources that it must
find.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import NamedTuple

PACKAGE = "bayes_moe"

# What the modules of each room may import besides their own room and errors.py. A room is a top-level module
# or folder of the package; "log_density" stands for that one module of a room. A room that is missing
# here may not exist: give it its place when you add it.
_SPECIFICATION = {"transforms", "smoothing", "graph", "priors", "predictors", "families", "gates", "experts", "mixture"}
_BORDER = {
    "columns",
    "categories",
    "tables",
    "targets",
    "newdata",
    "scaling",
    "screening",
    "groups",
    "expressions",
    "raw_columns",
    "formula",
    "smoothing",
    "data",
}
_PROTOCOL = "log_density"  # what an engine may ask of a density: the one thing that binding implements
_BINDING = _SPECIFICATION | _BORDER | {_PROTOCOL, "pointers", "processors"}
_RESULT = _BINDING | {"binding", "inference", "records", "specification", "container"}
_FITTING = _RESULT | {"presets", "posterior"}
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "log_density": set(),
    "pointers": set(),
    "processors": set(),
    "graph": set(),
    "smoothing": set(),
    "priors": {"graph"},
    "predictors": {"graph", "priors"},
    "families": {"graph", "priors", "predictors", "pointers"},
    "gates": {"graph", "priors", "predictors", "pointers"},
    "experts": {"graph", "priors", "predictors", "families"},
    "transforms": set(),
    "mixture": _SPECIFICATION,
    "presets": _SPECIFICATION,
    "columns": set(),
    "scaling": {"columns", "transforms"},
    "categories": {"columns"},
    "tables": {"columns", "categories"},
    "targets": {"columns", "tables", "scaling", "transforms"},
    "expressions": set(),
    "raw_columns": {"columns", "categories", "scaling"},
    "formula": {"columns", "categories", "tables", "raw_columns", "expressions"},
    "newdata": {"smoothing", "columns", "categories", "tables", "targets", "scaling", "groups", "formula"},
    "groups": {"columns", "categories", "tables"},
    "screening": {"columns", "scaling"},
    "data": _BORDER | {"transforms"},
    "binding": _BINDING,
    "inference": {_PROTOCOL, "pointers", "processors"},
    "records": set(),
    "specification": _SPECIFICATION | {_PROTOCOL, "inference", "records"},
    "container": set(),
    "posterior": _RESULT,
    "fitting": _FITTING,
    "scores": _FITTING,
    "choosing": _FITTING | {"fitting"},
    "automatic": _FITTING | {"fitting"},
    "storage": _FITTING | {"fitting"},
    "estimators": _FITTING | {"fitting"},
    "plots": _FITTING | {"fitting", "scores", "choosing"},
    "datasets": set(),
}

# Libraries that are at home in one place; a star stands for anything.
HOMES: dict[str, tuple[str, ...]] = {
    "matplotlib": ("plots/*",),
    "nutpie": ("inference/sampler.py",),
    "sklearn": ("estimators.py",),
    "numba": ("pointers.py", "graph/*", "*kernel.py", "*kernels.py"),
    "llvmlite": ("pointers.py", "graph/*"),
    "jax": ("graph/*",),
    "dask": ("inference/workers.py",),
    "arviz": (),  # a part of it is imported, never the whole
    "arviz_base": ("inference/arviz.py",),
    "arviz_stats": ("inference/arviz.py",),
    "formulaic": ("formula.py",),
    "pandas": ("posterior/tables.py", "choosing/tables.py", "scores.py", "formula.py", "raw_columns.py"),
    "polars": (),
}

# Whose ``__getattr__`` imports by name.
ON_DEMAND = ("__init__.py", "inference/deferred.py")

EMPTY_OR_TAKEN = {
    "utils",
    "util",
    "helpers",
    "common",
    "types",
    "typing",
    "math",
    "logging",
    "warnings",
}
# Libraries that take a second or more to import, which `import bayes_moe` shall not cost: they alone may be
# imported in the function that needs them.
SLOW = (
    "arviz_base",
    "arviz_stats",
    "formulaic",
    "nutpie",
    "pyarrow",
    "pymc",
    "pytensor",
    "scipy",
    "bayes_moe.graph.kernels",
    "bayes_moe.graph.mixing",
    "bayes_moe.graph.slope_kernels",
    "bayes_moe.graph.terms",
    "bayes_moe.binding.general_machine",
    "bayes_moe.pointers",
    "bayes_moe.binding.posterior_kernel",
    "bayes_moe.inference.chart_kernel",
    "bayes_moe.binding.model",
    "bayes_moe.binding.observed",
    "bayes_moe.container.survey",
)
# `**` only where the keys are the names of a distribution's parameters.
OPEN_KEYWORDS = {"predictors", "predicted"}
MAX_FILE_LINES = 400
MAX_CLASS_LINES = 250


class Finding(NamedTuple):
    """One breach: the rule's name, and a sentence that says where and what to do."""

    rule: str
    sentence: str


class Module(NamedTuple):
    """One file: its path within the package, its text and its syntax tree."""

    path: str
    source: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return room(self.path)

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    @property
    def imported(self) -> Iterator[tuple[int, str]]:
        return imported(self.path, self.tree)


def findings(path: str, source: str) -> list[Finding]:
    """Return what is wrong with one module; ``path`` is within the package, as in ``gates/softmax.py``."""
    module = Module(path, source, ast.parse(source))
    return [Finding(rule, sentence) for rule, check in RULES.items() for sentence in check(module)]


def room(path: str) -> str:
    """Return the room a file stands in: its folder, or its own name at the top."""
    return PurePosixPath(path).parts[0].removesuffix(".py")


def imported(path: str, tree: ast.AST, *, deep: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (line, full dotted name) of what is imported below a node, or by it alone if not ``deep``."""
    folder = (PACKAGE, *PurePosixPath(path).parts[:-1])
    for node in ast.walk(tree) if deep else [tree]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = list(folder[: len(folder) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])


def _layers(module: Module) -> Iterator[str]:
    here, path = module.room, module.path
    if here == "__init__":
        return
    if here not in LAYERS:
        yield f"{path}: expected a room listed in LAYERS, got {here!r} → give it its place there"
        return
    allowed = LAYERS[here] | {here, "errors"}
    for line, name in module.imported:
        first, *rest = name.split(".")
        if first != PACKAGE:
            continue
        if not rest or rest[0] not in LAYERS:
            yield f"{path}:{line}: imports {name}, from the package root → import from the room itself"
        elif rest[0] not in allowed and ".".join(rest[:2]) not in allowed:
            may = ", ".join(sorted(allowed))
            yield f"{path}:{line}: {here} imports {'.'.join(rest)}, and may import only {may}"


def _homes(module: Module) -> Iterator[str]:
    path = module.path
    for line, name in module.imported:
        library = name.split(".")[0]
        homes = HOMES.get(library)
        if homes is None or path == "__init__.py":
            continue
        if not any(fnmatchcase(path, home) for home in homes):
            place = " or ".join(homes) or "no module"
            yield f"{path}:{line}: imports {library}, which is imported in {place} only"


def _names(module: Module) -> Iterator[str]:
    for part in PurePosixPath(module.path).parts:
        if part.removesuffix(".py") in EMPTY_OR_TAKEN:
            yield f"{module.path}: the name {part!r} says nothing, or is Python's → name what is inside"


def _size(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{module.path}: {lines} lines, at most {MAX_FILE_LINES} → make two rooms of it"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_CLASS_LINES:
                yield f"{module.path}:{node.lineno}: {node.name} has {lines} lines, at most {MAX_CLASS_LINES}"


def _lazy(module: Module) -> Iterator[str]:
    """Imports stand at the top of a file, but for slow libraries and the ``__getattr__`` of ``ON_DEMAND`` (PEP 562)."""
    for function in module.functions:
        if module.path in ON_DEMAND and function.name == "__getattr__":
            continue
        for node in ast.walk(function):
            called = node.func if isinstance(node, ast.Call) else None
            by_name = getattr(called, "id", getattr(called, "attr", "")) in {"import_module", "__import__"}
            names = [name for _, name in imported(module.path, node, deep=False)]
            if by_name or any(not name.startswith(SLOW) for name in names):
                line = getattr(node, "lineno", function.lineno)
                yield f"{module.path}:{line}: imports inside {function.name}() → import at the top"


def _keywords(module: Module) -> Iterator[str]:
    for function in module.functions:
        keywords = function.args.kwarg
        if keywords is not None and keywords.arg not in OPEN_KEYWORDS:
            yield f"{module.path}:{function.lineno}: {function.name}(**{keywords.arg}) → name every argument"


def _prints(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.path}:{node.lineno}: prints → return it, or report it through progress"


RULES: dict[str, Callable[[Module], Iterator[str]]] = {
    "layers": _layers,
    "homes": _homes,
    "names": _names,
    "size": _size,
    "lazy": _lazy,
    "keywords": _keywords,
    "print": _prints,
}
