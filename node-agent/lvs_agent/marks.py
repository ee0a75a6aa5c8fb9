"""Keeps our table of the packet filter, by which the ports of one service get one firewall mark.

Rules come before the services that they are for, and go after them: a mark without a service harms nobody.
"""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final

from lvs_agent.decide.desired_marks import with_more, with_needed
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AnyServiceKey, MarkRule, MarkTable
from lvs_agent.errors import MarksError, NftMissing, PermissionRefused
from lvs_agent.kernel.interface import Marks
from lvs_agent.metrics import AgentMetrics
from lvs_api.conditions import Reason

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_NONE: frozenset[MarkRule] = frozenset()
_log = logging.getLogger(__name__)


class MarkKeeper:
    """Owner of the seam for firewall marks. What is ours is told by the table's name, also after a restart."""

    def __init__(self, marks: Marks, metrics: AgentMetrics, monotonic: Callable[[], float]) -> None:
        self._marks = marks
        self._metrics = metrics
        self._monotonic = monotonic
        self._read_at: int | None = None
        """Generation of the packet filter at which `_table` was so."""
        self._table: MarkTable | None = None
        self._is_unused = False
        """There is no table, and none is wanted: nothing is looked at."""
        self._settled: frozenset[MarkRule] = _NONE
        self._due = 0.0
        self._delay = _FIRST_RETRY
        self.fault: Fault | None = None
        """Why the marks are not as they shall be."""

    async def take_on(self, wanted: frozenset[MarkRule]) -> None:
        """Add what is missing, before the services are made."""
        await self._converge(wanted, None)

    async def let_go(self, wanted: frozenset[MarkRule], staying: AbstractSet[AnyServiceKey]) -> None:
        """Leave only what is wanted, after the services that are no longer wanted have gone.

        What brings packets to those that have not, `staying`, stays, too.
        """
        await self._converge(wanted, staying)

    async def _converge(self, wanted: frozenset[MarkRule], staying: AbstractSet[AnyServiceKey] | None) -> None:
        if (self._is_unused and not wanted) or self._monotonic() < self._due:
            return
        self._is_unused = False
        try:
            await self._make(wanted, staying)
        except (MarksError, PermissionRefused) as error:
            self._fail(error, is_needed=bool(wanted))
        else:
            self.fault, self._delay = None, _FIRST_RETRY

    async def _make(self, wanted: frozenset[MarkRule], staying: AbstractSet[AnyServiceKey] | None) -> None:
        """`staying` is None while nothing may go."""
        table = await self._look()
        present = table.rules if table is not None else _NONE
        shall = with_more(present, wanted) if staying is None else with_needed(present, wanted, staying)
        if not _is_as(table, shall):
            if wanted and (wanted <= self._settled if staying is None else shall == self._settled):
                self._metrics.repairs.labels("mark").inc()
                _log.warning("somebody else changed the table of firewall marks: made again with %d rules", len(shall))
            else:
                _log.info("firewall marks: %d rules", len(shall))
            self._read_at = None
            await self._marks.replace(shall)
            self._metrics.kernel_writes.labels("mark").inc()
            table = await self._look()
            if not _is_as(table, shall):
                raise MarksError("the table of firewall marks is not as wanted after writing")
        if staying is not None:
            self._settled = shall
            self._is_unused = not shall

    async def _look(self) -> MarkTable | None:
        """The table; read only where anything of the packet filter changed since."""
        generation = self._marks.generation()
        if self._read_at != generation:
            self._table = await self._marks.read()
            self._read_at = generation
        return self._table

    def _fail(self, error: MarksError | PermissionRefused, *, is_needed: bool) -> None:
        self._read_at = None
        if not is_needed and isinstance(error, NftMissing):
            self._is_unused = True  # without the program nobody made a table
            return
        self._due = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, _LONGEST_RETRY)
        fault = Fault(reason=Reason.MARKS_NOT_SET, message=str(error)) if is_needed else None
        if fault != self.fault:
            _log.warning("%s", error)
        self.fault = fault


def _is_as(table: MarkTable | None, shall: frozenset[MarkRule]) -> bool:
    if table is None:
        return not shall
    return bool(shall) and table.is_whole and table.rules == shall
