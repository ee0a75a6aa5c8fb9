"""Which agents are heard of: their Leases, listed on a timer of their own.

An agent renews its Lease every 10 s and writes its report only where something differs, so the Lease tells whether the
report still stands. Renewals wake nobody: a round is made when an agent falls silent, or is heard again. Time is
counted on our own monotonic clock from when a Lease was last seen to change, so clocks need not agree; while the Leases
could not be listed, agents could not renew them either, and that time does not count.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lvs_api.api_group import LEASE_AGENT_PREFIX
from lvs_core.cluster_view import AgentSigns
from lvs_operator.api_client import ApiClient
from lvs_operator.errors import ApiError

logger = logging.getLogger(__name__)

LIST_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """One agent's Lease."""

    version: int
    seen: float
    """When it was seen to change, or the time began to count anew; on our monotonic clock."""
    duration: float
    """Seconds that it is good for."""
    heard: bool
    """It has changed since this process first saw it."""
    silent: bool = False
    """It ran out, and has not been renewed since."""


def observe(
    known: Mapping[str, Sighting] | None, leases: Iterable[Mapping[str, Any]], now: float, *, interrupted: bool
) -> dict[str, Sighting]:
    """The agents' Leases by node after one more list. `known` is None at the first list of this process.

    `interrupted`: there was no list for a while, so what has not changed says nothing of that time. A Lease that
    vanished is one that is not renewed.
    """
    found = {node: _older(before, now, interrupted=interrupted) for node, before in (known or {}).items()}
    for lease in leases:
        name, duration = lease["metadata"]["name"], lease.get("spec", {}).get("leaseDurationSeconds")
        if not name.startswith(LEASE_AGENT_PREFIX) or not duration:
            continue
        node, version = name.removeprefix(LEASE_AGENT_PREFIX), int(lease["metadata"]["resourceVersion"])
        before = known.get(node) if known is not None else None
        if before is None or before.version < version:
            heard = known is not None  # one that came, or was renewed, since we began to look
            found[node] = Sighting(version=version, seen=now, duration=float(duration), heard=heard)
        elif before.version > version:  # etcd was restored to an older state: nobody renewed it
            found[node] = replace(found[node], version=version)
    return found


def _older(before: Sighting, now: float, *, interrupted: bool) -> Sighting:
    if before.silent:
        return before
    if interrupted:
        return replace(before, seen=now)
    return replace(before, silent=now - before.seen > before.duration)


def signs_of(sightings: Mapping[str, Sighting], now: float) -> AgentSigns:
    """The same as what is decided upon. An agent is late at half of its Lease's time."""
    late = frozenset(node for node, one in sightings.items() if one.silent or now - one.seen > one.duration / 2)
    return AgentSigns(
        late=late,
        silent=frozenset(node for node, one in sightings.items() if one.silent),
        unheard=frozenset(node for node, one in sightings.items() if not one.heard),
        heard=frozenset(node for node, one in sightings.items() if one.heard and node not in late),
    )


class AgentLeases:
    """Belongs to the main loop; `wake` is called when `signs` has changed.

    `doubt` is called when the API server was away, or has gone back to an older state: being asked every few seconds,
    it is found out here first.
    """

    def __init__(
        self, client: ApiClient, namespace: str, wake: Callable[[], None], *, doubt: Callable[[], None] = lambda: None
    ) -> None:
        self._client = client
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._wake = wake
        self._doubt = doubt
        self._version = 0
        """Of the last list."""
        self._sightings: Mapping[str, Sighting] | None = None
        self._failing = False
        self.signs = AgentSigns()

    async def run(self) -> None:
        """List until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LIST_SECONDS)

    async def look(self) -> None:
        """List once. A failure is told once, and what is known of the agents stays as it is."""
        leases: list[Mapping[str, Any]] = []
        version = 0
        try:
            async for page in self._client.pages(self._path):
                version = int(page["metadata"]["resourceVersion"])
                leases += page.get("items") or ()
        except ApiError as error:
            if not self._failing:
                logger.warning("whether agents still run is not known: %s", error)
            self._failing = True
            return
        now = time.monotonic()
        self._sightings = observe(self._sightings, leases, now, interrupted=self._failing)
        if self._failing or version < self._version:
            self._doubt()
        self._failing, self._version = False, version
        signs = signs_of(self._sightings, now)
        if signs != self.signs:
            self._tell(signs)
            self.signs = signs
            self._wake()

    def _tell(self, signs: AgentSigns) -> None:
        for node in sorted(signs.silent - self.signs.silent):
            logger.warning("the agent of %s does not renew its Lease", node)
        for node in sorted(self.signs.silent - signs.silent):
            logger.info("the agent of %s is heard again", node)
