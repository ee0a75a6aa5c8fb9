"""How the operator's process handles memory."""

import gc
from collections.abc import Iterator

import pytest

from lvs_operator.process_memory import seek_cycles_seldom


@pytest.fixture
def collector() -> Iterator[None]:
    """Python's own settings are back after the test."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_the_operator_seeks_cycles_seldom_and_still_does() -> None:
    before = gc.get_threshold()[0]
    seek_cycles_seldom()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] > before
    assert gc.isenabled()
