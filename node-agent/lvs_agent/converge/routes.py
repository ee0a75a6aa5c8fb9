"""Keeps the few host routes that connections of a former method need; see `decide.former_routes`."""

import logging
from collections.abc import Set as AbstractSet

from lvs_agent.decide.kernel_state import HostRoute
from lvs_agent.errors import LinkError
from lvs_agent.kernel.interface import HostRoutes
from lvs_agent.serve.metrics import AgentMetrics

_log = logging.getLogger(__name__)


class RouteKeeper:
    """Owner of the seam for host routes. What is ours is told by the route itself, also after a restart."""

    def __init__(self, routes: HostRoutes, metrics: AgentMetrics) -> None:
        self._routes = routes
        self._metrics = metrics
        self._present: frozenset[HostRoute] | None = None
        self._refused: frozenset[HostRoute] = frozenset()
        self._changes = 0

    def doubt(self) -> None:
        """A route, an address or a device changed: what we have of it may be gone."""
        self._changes += 1
        if self._present or self._refused:
            self._present = None
            self._refused = frozenset()

    async def take_on(self, wanted: AbstractSet[HostRoute]) -> None:
        """Make what is missing, before the table gives a real server its new method.

        A route that the kernel refuses is told and not tried again until something changes: without it older
        connections may break, while the edit that the user asked for goes on.
        """
        changes = self._changes
        present = await self._read()
        for route in sorted(wanted - present - self._refused, key=str):
            try:
                await self._routes.add(route)
            except LinkError as error:
                if self._changes == changes:
                    self._refused |= {route}
                _log.warning("connections that began with DirectRouting may break: %s", error)
            else:
                present = self._keep(present | {route}, changes)
                self._metrics.kernel_writes.labels("route").inc()
                _log.info(
                    "route to %s on %s, for connections that began with DirectRouting", route.address, route.device
                )

    async def let_go(self, wanted: AbstractSet[HostRoute]) -> None:
        """Take away what is no longer wanted, after the table."""
        changes = self._changes
        present = await self._read()
        for route in sorted(present - wanted, key=str):
            await self._routes.remove(route)
            present = self._keep(present - {route}, changes)
            self._metrics.kernel_writes.labels("route").inc()
            _log.info("route to %s on %s removed", route.address, route.device)

    async def _read(self) -> frozenset[HostRoute]:
        if self._present is not None:
            return self._present
        changes = self._changes
        return self._keep(await self._routes.read(), changes)

    def _keep(self, present: frozenset[HostRoute], changes: int) -> frozenset[HostRoute]:
        """Remember what there is, unless something changed since it was so: then it is read anew when it is needed."""
        self._present = present if self._changes == changes else None
        return present
