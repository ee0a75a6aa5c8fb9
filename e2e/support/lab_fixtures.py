"""Labs for tests: one lab serves many tests, is mended after each, and goes down with the session."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from lvs_lab.errors import LabError
from lvs_lab.lab import Lab, lab_names, standard_topology, take_down

_PREFIX: Final = "py"
_LONGEST_NAME: Final = 20
KEEP_LABS: Final = bool(os.environ.get("LVS_LAB_KEEP"))
"""Labs are left up for a look."""
LabOf = Callable[[str], Lab]


def session_name(label: str) -> str:
    """A lab's name that no other test session on this machine has."""
    return f"{_PREFIX}{os.getpid()}-{label}"[:_LONGEST_NAME].rstrip("-")


@contextmanager
def session_lab(label: str, topology_text: str, *, images: Sequence[Path] = ()) -> Iterator[Lab]:
    """A lab of this test session for as long as the context lasts; one that does not come up leaves nothing either."""
    name = session_name(label)
    try:
        yield Lab.up(name, topology_text, images=images)
    finally:
        if not KEEP_LABS:
            take_down(name)


class LabPool:
    """The labs of this test session, by their topology."""

    def __init__(self) -> None:
        self._shared: dict[str, Lab] = {}
        self._count = 0

    def shared(self, topology_text: str) -> Lab:
        """The session's lab of a topology, brought up when a test first asks for it."""
        if topology_text not in self._shared:
            self._shared[topology_text] = self.fresh(topology_text)
        return self._shared[topology_text]

    def fresh(self, topology_text: str) -> Lab:
        """A lab that no other test gets."""
        self._count += 1
        name = session_name(str(self._count))
        try:
            return Lab.up(name, topology_text)
        except LabError:
            take_down(name)
            raise

    def end(self) -> None:
        """Take all labs of this session down."""
        for name in lab_names():
            if name.startswith(f"{_PREFIX}{os.getpid()}-"):
                take_down(name)


def take_down_orphans() -> None:
    """Take down labs of test sessions that were killed."""
    for name in lab_names():
        owner = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            take_down(name)


@pytest.fixture(scope="session")
def lab_pool() -> Iterator[LabPool]:
    """All labs of the session; `LVS_LAB_KEEP=1` leaves them up for a look."""
    pool = LabPool()
    try:
        yield pool
    finally:
        if not KEEP_LABS:
            pool.end()


@pytest.fixture
def lab_of(lab_pool: LabPool) -> Iterator[LabOf]:
    """The session's lab of a topology, by its text or the name of a standard one; what the test broke is mended."""
    given: list[Lab] = []

    def get(topology: str) -> Lab:
        text = topology if "\n" in topology else standard_topology(topology)
        given.append(lab_pool.shared(text))
        return given[-1]

    yield get
    for lab in given:
        lab.repair()


@pytest.fixture
def own_lab(lab_pool: LabPool) -> Iterator[LabOf]:
    """A lab of its own for a test that leaves nothing whole; it goes down after the test."""
    given: list[Lab] = []

    def get(topology: str) -> Lab:
        given.append(lab_pool.fresh(topology if "\n" in topology else standard_topology(topology)))
        return given[-1]

    yield get
    for lab in given:
        lab.down()


@pytest.fixture
def plain_lab(lab_of: LabOf) -> Lab:
    """Five plain nodes and a client."""
    return lab_of("plain")
