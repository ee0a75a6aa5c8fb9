"""How an agent's process handles memory."""

import gc
from collections.abc import Iterator

import pytest

from lvs_agent.process_memory import seek_cycles_seldom, share_one_heap


@pytest.fixture
def collector() -> Iterator[None]:
    """Python's own settings are back after the test."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_cycles_are_sought_seldom_and_found_all_the_same() -> None:
    before = gc.get_threshold()[0]
    share_one_heap()
    seek_cycles_seldom()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] > before
    assert gc.isenabled()
