"""Which modules of the programs ask for the time, and the virtual clocks that they get instead."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Final
from unittest.mock import patch

import lvs_agent.agent
import lvs_agent.convergence
import lvs_agent.objects.api_source
import lvs_agent.objects.cluster_facts
import lvs_agent.objects.event_poster
import lvs_agent.objects.heartbeat
import lvs_agent.objects.report
import lvs_operator.agent_leases
import lvs_operator.cache
import lvs_operator.event_poster
import lvs_operator.kind_guard
import lvs_operator.reconcile
import lvs_operator.writer
from simulation.virtual_time import VirtualDatetime, VirtualLoop, VirtualTime

TICK_SECONDS: Final = 2.0
"""Of the agents, here: a round without news costs most of the time that this takes."""
CLOCKED: Final[tuple[ModuleType, ...]] = (
    lvs_agent.agent,
    lvs_agent.objects.api_source,
    lvs_agent.objects.cluster_facts,
    lvs_agent.objects.event_poster,
    lvs_agent.objects.report,
    lvs_operator.agent_leases,
    lvs_operator.cache,
    lvs_operator.event_poster,
    lvs_operator.kind_guard,
    lvs_operator.reconcile,
    lvs_operator.writer,
)
"""What asks the module `time`."""
DATED: Final[tuple[ModuleType, ...]] = (
    lvs_agent.convergence,
    lvs_agent.objects.event_poster,
    lvs_agent.objects.heartbeat,
    lvs_operator.event_poster,
    lvs_operator.reconcile,
)
"""What asks for the date."""


@contextmanager
def on_virtual_clocks(loop: VirtualLoop) -> Iterator[None]:
    """The programs go by the loop's time for as long as the context lasts."""
    with ExitStack() as stack:
        for module in CLOCKED:
            stack.enter_context(patch.object(module, "time", VirtualTime(loop)))
        for module in DATED:
            stack.enter_context(patch.object(module, "datetime", VirtualDatetime(loop)))
        stack.enter_context(patch("lvs_agent.agent.TICK_SECONDS", TICK_SECONDS))
        yield
