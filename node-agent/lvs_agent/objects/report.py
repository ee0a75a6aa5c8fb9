"""Writes LvsNode.status, where it differs from what the API server has.

What only tells how far this agent has come, and how single services fare, is written once a second at most: with edits
ten times a second it is another each time, and each one has the operator decide anew. Anything else is written at once:
others wait for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.api_group import API_VERSION, FIELD_MANAGER_AGENT
from lvs_api.kinds import NODE
from lvs_api.lvs_node import LvsNodeStatus
from lvs_api.objects import to_raw

_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 15.0
PROGRESS_SECONDS: Final = 1.0
"""Between a write and one that tells of nothing but progress."""
_PROGRESS: Final = frozenset({"exceptions", "drained", "truncated"})
_OWN_WRITE_SECONDS: Final = 10.0
"""An own write that has not come back by then did not last: etcd was restored to an older state."""
Raw = dict[str, Any]
_log = logging.getLogger(__name__)


class StatusReporter:
    """Owner of the status: the last one told is the one to be written."""

    def __init__(
        self,
        api: ApiConnection,
        *,
        node_name: str,
        observed: Callable[[], Raw | None],
        metrics: AgentMetrics,
    ) -> None:
        self._api = api
        self._path = f"/apis/{API_VERSION}/{NODE.plural}/{node_name}/status"
        self._node_name = node_name
        self._observed = observed
        self._metrics = metrics
        self._wanted: Raw | None = None
        self._addressee: str | None = None
        """Uid of the LvsNode that was known when the status was told: of one made anew, it may say too much."""
        self._written: tuple[str, int] | None = None
        """uid and resource version that the last write led to."""
        self._written_at = 0.0
        self._sent: Raw | None = None
        self._progress_due = 0.0
        """When progress may be told again, by the loop's clock."""
        self._news = asyncio.Event()
        self._failure: str | None = None

    def tell(self, status: LvsNodeStatus) -> None:
        """This is the status from now on. Also to be called when the same is said again: it may have been changed."""
        self._wanted = to_raw(status)
        observed = self._observed()
        self._addressee = None if observed is None else _version(observed)[0]
        if self._differs():
            self._news.set()

    async def run(self) -> None:
        """Write until cancelled."""
        delay = _FIRST_DELAY
        while True:
            await self._news.wait()
            self._news.clear()
            await self._give_others_time()
            if not self._differs():
                continue
            try:
                await self._write()
            except ApiUnavailable as error:
                self._metrics.status_writes.labels("failed").inc()
                if str(error) != self._failure:
                    _log.warning("LvsNode %s: the status is not written: %s", self._node_name, error)
                self._failure = str(error)
                asked = error.retry_after if isinstance(error, ApiRefused) else None
                await asyncio.sleep(max(delay, min(asked or 0, _LONGEST_DELAY)))
                delay = min(2 * delay, _LONGEST_DELAY)
                self._news.set()
            else:
                self._metrics.status_writes.labels("ok").inc()
                self._failure = None
                delay = _FIRST_DELAY

    async def _give_others_time(self) -> None:
        """Wait while there is nothing to tell but progress, and that was told a moment ago."""
        loop = asyncio.get_running_loop()
        while not self._is_urgent and (rest := self._progress_due - loop.time()) > 0:
            try:
                async with asyncio.timeout(rest):
                    await self._news.wait()
            except TimeoutError:
                return
            self._news.clear()

    @property
    def _is_urgent(self) -> bool:
        """Whether it says more than progress, or says it to an object that has heard nothing yet."""
        if self._sent is None or self._written is None or self._wanted is None or self._written[0] != self._addressee:
            return True
        return _beside_progress(self._sent) != _beside_progress(self._wanted)

    def _differs(self) -> bool:
        """Whether the API server has another status, as far as this agent has seen.

        What it made of the last write is not compared: an older CRD drops what it does not know, each time anew.
        """
        observed = self._observed()
        if self._wanted is None or observed is None:
            return False
        uid, version = _version(observed)
        if uid != self._addressee:
            return False  # it is told again with the next round
        if self._written is not None and self._written[0] == uid and version <= self._written[1]:
            is_late = version < self._written[1] and time.monotonic() >= self._written_at + _OWN_WRITE_SECONDS
            if not is_late:
                return self._sent != self._wanted
        return bool(observed.get("status") != self._wanted)

    async def _write(self) -> None:
        status = self._wanted
        body = {
            "apiVersion": API_VERSION,
            "kind": NODE.name,
            "metadata": {"name": self._node_name},
            "status": status,
        }
        answer = await self._api.apply(self._path, body, FIELD_MANAGER_AGENT)
        self._written, self._sent, self._written_at = _version(answer), status, time.monotonic()
        self._progress_due = asyncio.get_running_loop().time() + PROGRESS_SECONDS


def _beside_progress(status: Raw) -> Raw:
    """What of a status others may wait for."""
    groups = [{**group, "viewDigest": None} for group in status.get("directorGroups") or ()]
    return {**{name: value for name, value in status.items() if name not in _PROGRESS}, "directorGroups": groups}


def _version(raw: Raw) -> tuple[str, int]:
    """Uid and resource version, which grows with each write of a kind (KEP-5504)."""
    metadata = raw["metadata"]
    return metadata["uid"], int(metadata["resourceVersion"])
