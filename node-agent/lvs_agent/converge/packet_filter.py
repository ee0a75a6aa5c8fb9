"""Keeps our table of the packet filter: marks by which ports of one service are one, source NAT, what tunnels need.

Rules come before the services that they are for, and go after them: a mark without a service harms nobody. When source
NAT ends, the connections that had it live on until they end; see `PacketRules.kept_sources`.
"""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Final

from lvs_agent.decide.kernel_state import AnyServiceKey
from lvs_agent.decide.packet_rules import no_longer_rewritten, with_ended, with_more, with_needed, with_paused
from lvs_agent.decide.packet_table import NO_RULES, PacketRules, PacketTable, SourceNatRule
from lvs_agent.errors import NftMissing, PacketFilterError, PermissionRefused
from lvs_agent.kernel.interface import PacketFilter
from lvs_agent.serve.metrics import AgentMetrics

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
OpenAmong = Callable[[frozenset[SourceNatRule]], frozenset[SourceNatRule]]
"""Those of which connections live."""
Paused = frozenset[SourceNatRule]
"""Connections of services that stay as they are."""
Step = Callable[[PacketRules, PacketRules], PacketRules]
"""From the rules that there are, and those that are wanted, to those that shall be now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What the kernel has beside what is wanted."""

    staying: AbstractSet[AnyServiceKey]
    """Services to which packets go still: what brings them there stays, too."""
    open_among: OpenAmong


_log = logging.getLogger(__name__)


class PacketFilterKeeper:
    """Owner of the seam to the packet filter. What is ours is told by the table's name, also after a restart."""

    def __init__(self, packet_filter: PacketFilter, metrics: AgentMetrics, monotonic: Callable[[], float]) -> None:
        self._packet_filter = packet_filter
        self._metrics = metrics
        self._monotonic = monotonic
        self._read_at: int | None = None
        """Generation of the packet filter at which `_table` was so."""
        self._table: PacketTable | None = None
        self._is_unused = False
        """There is no table, and none is wanted: nothing is looked at."""
        self._settled = NO_RULES
        self._due = 0.0
        self._delay = _FIRST_RETRY
        self.why_not: str | None = None
        """Why the rules are not as they shall be."""

    @property
    def present(self) -> PacketRules:
        """The rules that were there at the last look."""
        return self._table.rules if self._table is not None else NO_RULES

    async def take_on(self, wanted: PacketRules, paused: Paused, *, provisional: bool) -> None:
        """Add what is missing, before the services are made; what tunnels need is made as it shall be."""
        await self._converge(wanted, paused, partial(with_more, provisional=provisional), is_last=False)

    async def let_go(self, wanted: PacketRules, paused: Paused, remains: Remains) -> None:
        """Leave only what is wanted and what `remains` needs, after the services that are not wanted have gone."""
        await self._converge(wanted, paused, partial(_leave, remains=remains), is_last=True)

    async def _converge(self, wanted: PacketRules, paused: Paused, step: Step, *, is_last: bool) -> None:
        if (self._is_unused and not wanted) or self._monotonic() < self._due:
            return
        self._is_unused = False
        try:
            await self._make(wanted, paused, step, is_last=is_last)
        except (PacketFilterError, PermissionRefused) as error:
            self._fail(error, is_needed=bool(wanted))
        else:
            self.why_not, self._delay = None, _FIRST_RETRY

    async def _make(self, wanted: PacketRules, paused: Paused, step: Step, *, is_last: bool) -> None:
        table = await self._look()
        present = table.rules if table is not None else NO_RULES
        wanted = with_paused(wanted, paused, present)
        shall = step(present, wanted)
        if not _is_as(table, shall):
            if wanted and wanted.is_within(self._settled) and not _is_as(table, self._settled):
                self._metrics.repairs.labels("packet_filter").inc()
                _log.warning("somebody else changed our table of the packet filter: made again, %d rules", len(shall))
            else:
                _log.info("packet filter: %d rules", len(shall))
            self._read_at = None
            await self._packet_filter.replace(shall)
            self._metrics.kernel_writes.labels("packet_filter").inc()
            table = await self._look()
            if not _is_as(table, shall):
                raise PacketFilterError("our table of the packet filter is not as wanted after writing")
            self._settled = shall
        if is_last:
            self._settled = shall
            self._is_unused = not shall and not paused

    async def _look(self) -> PacketTable | None:
        """The table; read only where anything of the packet filter changed since."""
        generation = self._packet_filter.generation()
        if self._read_at != generation:
            self._table = await self._packet_filter.read()
            self._read_at = generation
        return self._table

    def _fail(self, error: PacketFilterError | PermissionRefused, *, is_needed: bool) -> None:
        self._read_at = None
        if not is_needed and isinstance(error, NftMissing):
            self._is_unused = True  # without the program nobody made a table
            return
        self._due = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, _LONGEST_RETRY)
        why_not = str(error) if is_needed else None
        if why_not != self.why_not:
            _log.warning("%s", error)
        self.why_not = why_not


def _leave(present: PacketRules, wanted: PacketRules, *, remains: Remains) -> PacketRules:
    shall = with_needed(present, wanted, remains.staying)
    ended = no_longer_rewritten(present, shall)
    return with_ended(shall, remains.open_among(ended) if ended else ended)


def _is_as(table: PacketTable | None, shall: PacketRules) -> bool:
    if table is None:
        return not shall
    return bool(shall) and table.is_whole and table.rules == shall
