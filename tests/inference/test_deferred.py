"""What an import inside `deferred` holds, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from bayes_moe.inference.deferred import deferred

NAME = "a_package_of_this_test"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Put a package on the path whose import can be told from its stand-in."""
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "__init__.py").write_text("value = 7\n")
    (tmp_path / NAME / "inner.py").write_text("value = 8\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def _import(code="import a_package_of_this_test as held"):
    names: dict = {}
    exec(code, names)
    return names["held"]


@pytest.mark.usefixtures("package")
def test_an_import_inside_loads_at_the_first_name_asked():
    with deferred(NAME):
        held = _import()
    assert NAME not in sys.modules
    assert held.value == 7
    assert sys.modules[NAME] is not held
    assert sys.modules[NAME].value == 7


@pytest.mark.usefixtures("package")
def test_a_name_asked_inside_loads_at_once():
    with deferred(NAME):
        held = _import("from a_package_of_this_test import value as held")
    assert held == 7
    assert _import() is sys.modules[NAME]


@pytest.mark.usefixtures("package")
def test_a_module_of_the_package_loads_inside():
    with deferred(NAME):
        held = _import("from a_package_of_this_test.inner import value as held")
    assert held == 8


@pytest.mark.usefixtures("package")
def test_a_name_that_is_not_there_is_an_attribute_error():
    with deferred(NAME):
        held = _import()
    with pytest.raises(AttributeError, match="has no attribute 'none'"):
        _ = held.none


@pytest.mark.usefixtures("package")
def test_a_loaded_package_stays():
    before = _import()
    with deferred(NAME):
        assert _import() is before
    assert sys.modules[NAME] is before


@pytest.mark.usefixtures("package")
def test_an_error_inside_leaves_no_stand_in():
    with pytest.raises(ZeroDivisionError), deferred(NAME):
        _ = 1 / 0
    assert NAME not in sys.modules


def test_a_first_fit_by_nuts_does_not_wait_for_matplotlib():
    code = """
        import sys, warnings
        import bayes_moe as bm

        data = bm.datasets.motorcycle()
        warnings.simplefilter("ignore", bm.FitWarning)
        bm.fit(bm.MixtureOfExperts(1), data.X, data.y, bm.NUTS(draws=10, tune=10, chains=1, seed=1), progress=False)
        assert "nutpie" in sys.modules
        assert "matplotlib" not in sys.modules
        held = sys.modules["nutpie.sample"].arviz
        import arviz

        assert held.from_dict is arviz.from_dict
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_statistics_do_not_wait_for_a_search_for_jax():
    """lazy_loader reads the source of everything on the stack for each package that it does not find."""
    code = """
        import inspect, sys

        def stack(*_):
            raise AssertionError("who imports ArviZ's statistics is looked up")

        inspect.stack = stack
        from bayes_moe.inference.arviz import statistics

        assert statistics() is sys.modules["arviz_stats"]
        assert statistics().base.array_stats.ess
        assert not {"jax", "numpyro"} & sys.modules.keys()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
