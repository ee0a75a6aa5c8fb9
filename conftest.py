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

settings.register_profile("reproducible", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reproducible")

_CHECKOUT: Final = Path(__file__).parent
_LABS: Final = "e2e/scenarios"
_SLOW: Final = (_LABS, "e2e/api")
"""Mostly waiting, and long: with several workers they come first, so that the short ones fill what is left."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Where there are several workers, one of them has all labs, for two side by side would have to share processors.

    The tests of a module that share an API server stay together, too.
    """
    in_workers = hasattr(config, "workerinput")
    for item in items if in_workers else ():
        rank = _slowness(item)
        if rank < len(_SLOW):
            item.add_marker(pytest.mark.xdist_group("labs" if _SLOW[rank] == _LABS else item.path.stem))
    yield  # the groups are read here
    if in_workers:
        items.sort(key=_slowness)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Tests marked `alone` wait until the other workers have ended theirs, and these wait for them."""
    with _turn(item):
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Who has started the workers takes their locks away."""
    if not hasattr(session.config, "workerinput"):
        for file in _locks(os.getpid()):
            file.unlink(missing_ok=True)


def _slowness(item: pytest.Item) -> int:
    place = item.path.relative_to(_CHECKOUT).as_posix()
    return next((rank for rank, directory in enumerate(_SLOW) if place.startswith(directory)), len(_SLOW))


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
