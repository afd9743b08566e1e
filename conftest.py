"""How the tests are run: the long tier and how it resumes, published data, and doctests.

Tiers
-----
A test (or one of its parameter rows) marked ``full`` is left out unless ``pytest --full`` asks for it.
Each one that passes is remembered in pytest's cache at once, under a digest of everything it could depend
on (sources, tests, pinned versions, the Python version). The next ``--full`` leaves it out as long as the
digest is the same, so an interrupted long run goes on where it stopped; ``--fresh`` runs all of them again.

Two processes
-------------
``make test`` runs the files on two processes (pytest-xdist); plain ``pytest`` runs on one.

Published data
--------------
A test that uses the ``data_dir`` fixture, or is marked ``data``, skips while BAYES_MOE_DATA is unset and must
run where it is set. The last lines of the run count them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import bayes_moe as bm  # noqa: F401 - whole, before pytest imports files for doctests: else some exist twice

ROOT = Path(__file__).parent
NO_DATA = "BAYES_MOE_DATA is unset"
PASSED = "bayes_moe/full-tier-passed"

# Figures are drawn, never shown.
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples on every machine and every run, and no limit on a first call that compiles.
settings.register_profile("repository", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("repository")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bayes_moe")
    group.addoption("--full", action="store_true", help="also run the long tier (tests marked full)")
    group.addoption("--fresh", action="store_true", help="with --full: forget which long tests passed before")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORD] = Record(config)
    if not hasattr(config, "workerinput"):  # several processes run tests: this is the one that hands them out
        config.pluginmanager.register(Writing(config.stash[RECORD]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    record = config.stash[RECORD]
    left_out = []
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
        if item.get_closest_marker("data") and not os.environ.get("BAYES_MOE_DATA"):
            item.add_marker(pytest.mark.skip(reason=NO_DATA))
        if item.get_closest_marker("full") and (not config.getoption("full") or record.knows(item.nodeid)):
            left_out.append(item)
    if left_out:
        gone = set(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in gone]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    report.published_data = item.get_closest_marker("data") is not None
    report.long_tier = item.get_closest_marker("full") is not None
    return report


class Writing:
    """What one process does for all that run tests: it keeps the record."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write a long test down that passed."""
        if report.when == "call" and report.passed and getattr(report, "long_tier", False):
            self._record.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over from a process that ended which long tests it found passed before: all find the same."""
        self._record.resumed = list(getattr(node, "workeroutput", {}).get(PASSED, self._record.resumed))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Iterator[None]:
    """Say, as the last words before pytest's closing line, what was not run and why."""
    yield
    record = config.stash[RECORD]
    if record.resumed:
        terminalreporter.write_line(
            f"{len(record.resumed)} long tests passed before on this very source, not run again (see --fresh)"
        )
    reports = [report for group in terminalreporter.stats.values() for report in group]
    data = [report for report in reports if getattr(report, "published_data", False)]
    skipped = sum(report.skipped for report in data)
    if os.environ.get("BAYES_MOE_DATA"):
        ran = sum(report.when == "call" and not report.skipped for report in data)
        terminalreporter.write_line(f"BAYES_MOE_DATA is set: {ran} tests of published data run, {skipped} skipped")
    else:
        terminalreporter.write_line(f"{NO_DATA}: {skipped} tests of published data skipped")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Count a long run that finds everything passed before as a success."""
    resumed = session.config.stash[RECORD].resumed
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[PASSED] = resumed
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and resumed:
        session.exitstatus = pytest.ExitCode.OK


class Record:
    """The long tests that passed on this very source tree."""

    def __init__(self, config: pytest.Config) -> None:
        self._cache = getattr(config, "cache", None)
        self._digest = digest() if config.getoption("full") else ""
        stored = {} if config.getoption("fresh") or not self._cache else self._cache.get(PASSED, {})
        self._passed: set[str] = set(stored.get(self._digest, []))
        self.resumed: list[str] = []

    def knows(self, name: str) -> bool:
        """Whether the test passed before; it is then reported as resumed."""
        if name in self._passed:
            self.resumed.append(name)
        return name in self._passed

    def add(self, name: str) -> None:
        """Write the test down at once: the run may be killed during the next one."""
        self._passed.add(name)
        if self._cache:
            self._cache.set(PASSED, {self._digest: sorted(self._passed)})


RECORD = pytest.StashKey[Record]()


def digest(root: Path = ROOT) -> str:
    """Return a digest of everything that a test's outcome may depend on."""
    found = [root / name for name in ("pyproject.toml", "constraints.txt", "conftest.py")]
    for folder in ("bayes_moe", "tests"):
        found += [path for path in (root / folder).rglob("*") if path.suffix in {".py", ".csv", ".json"}]
    total = hashlib.sha256(sys.version.encode())
    for path in sorted(found):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(autouse=True)
def _doctest_manners(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show arrays in doctests with four digits, whatever the machine's last bits are."""
    if request.node.__class__.__name__ != "DoctestItem":
        yield
        return
    with np.printoptions(precision=4, suppress=True):
        yield


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    """Close what a test or a doctest drew: the twenty-first open figure of a process is a warning."""
    yield
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")
