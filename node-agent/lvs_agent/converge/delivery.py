"""Keeps local delivery by marks. As with addresses: it ends before the table changes, and begins after."""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final

from lvs_agent.decide.delivered_marks import kept_marks, taken_marks
from lvs_agent.decide.kernel_state import AnyServiceKey, FirewallMarkKey, LocalDelivery
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.errors import LinkError, PermissionRefused
from lvs_agent.kernel.interface import DeliveryRoutes
from lvs_agent.serve.metrics import AgentMetrics

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_log = logging.getLogger(__name__)


class DeliveryKeeper:
    """Owner of the seam. What is ours is told by its protocol number, also after a restart."""

    def __init__(self, routes: DeliveryRoutes, metrics: AgentMetrics, monotonic: Callable[[], float]) -> None:
        self._routes = routes
        self._metrics = metrics
        self._monotonic = monotonic
        self._present = LocalDelivery()
        self._settled = LocalDelivery()
        self._is_unused = False
        """There is nothing, and nothing is wanted: nothing is looked at."""
        self._due = 0.0
        self._delay = _FIRST_RETRY
        self.why_not: str | None = None
        """Why it is not as it shall be."""

    async def let_go(self, prepared: PreparedPlan) -> None:
        """Leave only what is wanted, before services go."""
        if self._is_unused and not any(service.planned.delivered for service in prepared.services):
            return
        self._is_unused = False
        await self._converge(lambda: kept_marks(prepared, self._present))

    async def take_on(self, prepared: PreparedPlan, served: AbstractSet[AnyServiceKey]) -> None:
        """Add what is wanted of the services that the kernel has."""
        if self._is_unused:
            return
        await self._converge(lambda: taken_marks(prepared, self._present, served))
        if self.why_not is None:
            self._settled = self._present
            self._is_unused = self._present == LocalDelivery() and not any(
                service.planned.delivered for service in prepared.services
            )

    async def _converge(self, marks: Callable[[], frozenset[FirewallMarkKey]]) -> None:
        if self._monotonic() < self._due:
            return
        try:
            self._present = await self._routes.read()
            shall = LocalDelivery.of(marks())
            if shall != self._present:
                await self._write(shall)
        except (LinkError, PermissionRefused) as error:
            self._fail(str(error))
        else:
            self.why_not, self._delay = None, _FIRST_RETRY

    async def _write(self, shall: LocalDelivery) -> None:
        if shall == self._settled:
            self._metrics.repairs.labels("rule").inc()
            _log.warning("somebody else changed our rules of local delivery: made again")
        else:
            _log.info("local delivery of %s", ", ".join(sorted(map(str, shall.rules))) or "nothing")
        await self._routes.replace(shall.rules)
        self._metrics.kernel_writes.labels("rule").inc()
        self._present = await self._routes.read()
        if self._present != shall:
            raise LinkError("rules of local delivery are not as wanted after writing")

    def _fail(self, why_not: str) -> None:
        self._due = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, _LONGEST_RETRY)
        if why_not != self.why_not:
            _log.warning("%s", why_not)
        self.why_not = why_not
