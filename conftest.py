"""Settings of all tests: what a property test tries is the same in each run, and who runs beside whom."""

import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("reproducible", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reproducible")

_LABS: Final = "e2e/scenarios/"
_SLOW: Final = (_LABS, "e2e/api/")
"""Mostly waiting, and long: with several workers they come first, so that the short ones fill what is left."""


class Lanes(LoadScopeScheduling):
    """Who runs what: one worker has all labs, for two side by side would have to share processors.

    The tests of a module that share an API server stay together, too; every other test goes to whoever is free.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_LABS):
            return _LABS
        return nodeid.partition("::")[0] if nodeid.startswith(_SLOW) else nodeid


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which cluster the tests with kubelets that can run on any are to run on, and what agents are in labs."""
    group = parser.getgroup("cluster")
    group.addoption("--cluster", default="lab", metavar="lab|kind|kubeconfig[:PATH]", help="who makes the cluster")
    group.addoption(
        "--cluster-address", default="", metavar="ADDRESS", help="kubeconfig: a free address of the nodes' network"
    )
    group.addoption(
        "--cluster-images", default="", metavar="OPERATOR,AGENT", help="kubeconfig: both images, with their tags"
    )
    told = "what operator and agents are in labs: programs of the checkout, or pods of the images on kubelets"
    parser.addoption("--agents", choices=("processes", "pods"), default="processes", help=told)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """Asked for where there are several workers."""
    return Lanes(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Where there are several workers the slow tests come first."""
    yield
    if hasattr(config, "workerinput"):
        items.sort(key=_slowness)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Tests marked `alone` wait until the other workers have ended theirs, and these wait for them."""
    with _turn(item):
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests want to be read, whether they pass or fail: `record_property("printed", text)`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "printed" and report.when == "call":
                    terminalreporter.write_line(str(text))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Who has started the workers takes their locks away."""
    if not hasattr(session.config, "workerinput"):
        for file in _locks(os.getpid()):
            file.unlink(missing_ok=True)


def _slowness(item: pytest.Item) -> int:
    return next((rank for rank, directory in enumerate(_SLOW) if item.nodeid.startswith(directory)), len(_SLOW))


@contextmanager
def _turn(item: pytest.Item) -> Iterator[None]:
    if not hasattr(item.config, "workerinput"):
        yield
        return
    alone = item.get_closest_marker("alone") is not None
    gate_file, turn_file = _locks(os.getppid())
    with gate_file.open("w") as gate, turn_file.open("w") as turn:
        # Who wants to be alone holds the gate while the others end, so that no other test comes in between for ever.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(turn, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def _locks(controller: int) -> tuple[Path, Path]:
    place = Path(tempfile.gettempdir())
    return place / f"pytest-{controller}.gate", place / f"pytest-{controller}.turn"
