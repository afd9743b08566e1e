"""The package keeps the rules in ``layers.py``, and the repository names no registry and no machine."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.layers import LAYERS, RULES, findings, imported, room

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bayes_moe"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("module", MODULES)
def test_module_keeps_the_rule(module: str, rule: str) -> None:
    source = (PACKAGE / module).read_text(encoding="utf-8")
    broken = [finding.sentence for finding in findings(module, source) if finding.rule == rule]
    assert not broken, "\n".join(broken)


BAD = {
    "upwards": ("layers", "families/normal.py", "from bayes_moe.gates import SoftmaxGate"),
    "upwards, relative": ("layers", "families/normal.py", "from ..gates import SoftmaxGate"),
    "upwards, relative to the root": ("layers", "experts.py", "from .mixture import MixtureOfExperts"),
    "upwards, room by name": ("layers", "priors.py", "from . import mixture"),
    "upwards, for types alone": (
        "layers",
        "inference/em.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bayes_moe.binding import Density",
    ),
    "an engine that knows experts": ("layers", "inference/em.py", "import bayes_moe.experts"),
    "sideways": ("layers", "plots/gate.py", "from bayes_moe.storage import load"),
    "graph on anything": ("layers", "graph/mixing.py", "from ..priors import Normal"),
    "the package root": ("layers", "fitting.py", "import bayes_moe"),
    "a room without a place": ("layers", "novelty.py", "x = 1"),
    "matplotlib outside plots": ("homes", "posterior/fit.py", "import matplotlib.pyplot as plt"),
    "nutpie outside nuts": ("homes", "inference/advi.py", "from nutpie import sample"),
    "scikit-learn for k-means": ("homes", "inference/starts.py", "from sklearn.cluster import KMeans"),
    "numba above the ground floor": ("homes", "inference/em.py", "import numba"),
    "pandas": ("homes", "data.py", "import pandas as pd"),
    "all of arviz": ("homes", "posterior/tree.py", "import arviz as az"),
    "utils": ("names", "posterior/utils.py", "x = 1"),
    "a name of Python's": ("names", "graph/math.py", "x = 1"),
    "a folder called common": ("names", "common/normal.py", "x = 1"),
    "a long file": ("size", "data.py", "x = 1\n" * 401),
    "a long class": ("size", "data.py", "class A:\n" + "    x = 1\n" * 250),
    "a lazy import": ("lazy", "fitting.py", "def fit():\n    import xarray\n"),
    "a lazy import by name": (
        "lazy",
        "fitting.py",
        "def fit():\n    return importlib.import_module('xarray')\n",
    ),
    "a lazy import in a method": (
        "lazy",
        "data.py",
        "class A:\n    def f(self):\n        from os import path\n",
    ),
    "a lazy import at the root": ("lazy", "__init__.py", "def fit():\n    import xarray\n"),
    "a lazy import of our own": ("lazy", "fitting.py", "def fit():\n    from .posterior import Fit\n"),
    "open keywords": ("keywords", "fitting.py", "def fit(model, **kwargs):\n    return model\n"),
    "open keywords in a method": ("keywords", "data.py", "class A:\n    def f(self, **options): ...\n"),
    "a print": ("print", "fitting.py", "print('done')"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_rules_bite(case: str) -> None:
    rule, module, source = BAD[case]
    assert rule in {finding.rule for finding in findings(module, source)}


GOOD = {
    "downwards": ("gates/softmax.py", "from ..errors import SpecError\nfrom bayes_moe.priors import Normal"),
    "own room": ("gates/softmax.py", "from .base import Gate"),
    "another library": ("inference/em.py", "import numpy as np\nfrom scipy.cluster.vq import kmeans2"),
    "matplotlib at home": ("plots/gate.py", "from matplotlib import pyplot as plt"),
    "nutpie at home": ("inference/sampler.py", "import nutpie"),
    "a kernel file": ("binding/kernels.py", "import numba"),
    "a slow library": ("inference/arviz.py", "def f():\n    import arviz_stats\n"),
    "one keyword for each parameter": ("experts.py", "def expert(**predictors): ..."),
    "PEP 562": ("__init__.py", "def __getattr__(name):\n    from bayes_moe import plots\n    return plots\n"),
    "a long but legal file": ("data.py", "x = 1\n" * 400),
    "a long but legal class": ("data.py", "class A:\n" + "    x = 1\n" * 249),
}


@pytest.mark.parametrize("case", GOOD)
def test_the_rules_leave_good_code_alone(case: str) -> None:
    assert findings(*GOOD[case]) == []


def test_every_module_was_read() -> None:
    assert "errors.py" in MODULES
    assert {room(module) for module in MODULES} - {"__init__"} <= LAYERS.keys()


def test_layers_have_no_cycle() -> None:
    """Taking away the rooms that depend on nothing left must empty the table."""
    left = {here: below - {here} for here, below in LAYERS.items()}
    while left:
        ground = {here for here, below in left.items() if not below & left.keys()}
        assert ground, f"these rooms import each other: {sorted(left)}"
        left = {here: below for here, below in left.items() if here not in ground}


def test_modules_import_each_other_in_one_direction() -> None:
    """No cycle between modules either, inside a room too; a folder's ``__init__`` counts as a module."""
    known = {_dotted(module): module for module in MODULES}
    graph = {}
    for name, module in known.items():
        tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
        wanted = [dotted for _, dotted in imported(module, tree)]
        graph[name] = {
            target for full in wanted if (target := full if full in known else full.rpartition(".")[0]) in known
        } - {name}
    while graph:
        ground = {name for name, below in graph.items() if not below & graph.keys()}
        assert ground, f"these modules import each other: {sorted(graph)}"
        graph = {name: below for name, below in graph.items() if name not in ground}


def _dotted(module: str) -> str:
    return ".".join(("bayes_moe", *Path(module).with_suffix("").parts)).removesuffix(".__init__")


# Spelled in pieces, so that this file does not hold what it forbids.
HOSTS = (
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "anaconda" + ".org",
    "conda-" + "forge.org",
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|farm|home|Users)/\w")


def repository_texts() -> list[Path]:
    """Every text file of the repository: what git tracks or would track."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout: nothing says which files belong to the repository")
    command = [git, "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    paths = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    return [path for path in paths if b"\0" not in path.read_bytes()[:8000]]


def breaches(text: str) -> list[str]:
    """Return the lines that name a package registry or a path of some machine."""
    return [line for line in text.splitlines() if MACHINE_PATH.search(line) or any(host in line for host in HOSTS)]


def test_repository_names_no_registry_and_no_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()[:100]}"
        for path in repository_texts()
        for line in breaches(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_no_lock_files() -> None:
    locks = [
        path.name for path in repository_texts() if path.name in {"uv.lock", "poetry.lock", "pdm.lock", "pixi.lock"}
    ]
    assert not locks, f"{locks}: a lock file names registries → exact versions stand in constraints.txt"


@pytest.mark.parametrize("host", HOSTS)
def test_a_registry_is_found(host: str) -> None:
    assert breaches(f"index = https://{host}/simple")


@pytest.mark.parametrize("folder", ["work", "root", "home"])
def test_a_machine_path_is_found(folder: str) -> None:
    assert breaches(f"data = '/{folder}/me'")
    assert not breaches(f"https://example.org/{folder}/page and ../{folder}/me and {folder}/me")
