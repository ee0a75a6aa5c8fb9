"""Remembers how often other hands had to be undone in the IPVS table, and looks for whose they may be."""

from collections.abc import Callable, Collection

from lvs_agent.decide.contest import NO_CONTEST, Damage, Traces, follow, traces_of
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AnyServiceKey
from lvs_agent.kernel.interface import Links


class ContestKeeper:
    """Owner of that memory, which ends with the agent."""

    def __init__(self, links: Links, clock: Callable[[], float]) -> None:
        self._links = links
        self._clock = clock
        self._contest = NO_CONTEST

    @property
    def fault(self) -> Fault | None:
        """What is to be told."""
        return self._contest.fault

    async def follow(self, damage: Damage, present: Collection[AnyServiceKey]) -> None:
        """A round put right so much in a table that has these services now. Raises LinkError."""
        traces = traces_of(await self._links.read(), present) if damage else Traces()
        self._contest = follow(self._contest, damage, traces, self._clock())
