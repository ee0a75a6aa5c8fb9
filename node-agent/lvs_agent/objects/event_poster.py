"""Posts events on this node's LvsNode, from one status told to the next. Nothing waits for it."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from lvs_agent.decide.status_events import status_events
from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.api_group import API_VERSION, FIELD_MANAGER_AGENT
from lvs_api.conditions import timestamp
from lvs_api.kinds import NODE
from lvs_api.lvs_node import LvsNodeStatus
from lvs_api.violations import InvalidObject
from lvs_core.event_book import EventBook, EventWrite, Outcome, Pace, Regarding
from lvs_core.view_objects import lvs_node_from_raw

PACE: Final = Pace(burst=25, per_second=0.2, waiting=200)
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = 500
Raw = Mapping[str, Any]
_log = logging.getLogger(__name__)


class EventPoster:
    """Owner of the book of events."""

    def __init__(
        self,
        api: ApiConnection,
        *,
        node_name: str,
        observed: Callable[[], Raw | None],
        metrics: AgentMetrics,
    ) -> None:
        self._api = api
        self._observed = observed
        self._metrics = metrics
        self._book = EventBook(component=FIELD_MANAGER_AGENT, instance=node_name, pace=PACE)
        self._before: LvsNodeStatus | None = None
        self._news = asyncio.Event()
        self._failure: str | None = None

    def tell(self, status: LvsNodeStatus) -> None:
        """This is the status from now on.

        The first is compared with what the LvsNode says, so that a restart tells nothing twice; until the LvsNode has
        been seen nothing is compared.
        """
        node = self._observed()
        if node is None or status is self._before:
            return
        before = self._before if self._before is not None else _status_of(node, status)
        self._before = status
        metadata = node["metadata"]
        regarding = Regarding(API_VERSION, NODE.name, None, metadata["name"], metadata["uid"])
        stamp = timestamp(datetime.now(UTC))
        for occurrence in status_events(before, status):
            if self._book.note(regarding, occurrence, stamp):
                self._news.set()
            else:
                self._metrics.events.labels("dropped").inc()

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            self._news.clear()
            wait = self._book.wait(time.monotonic())
            if wait is None:
                await self._news.wait()
                continue
            await asyncio.sleep(wait)
            if (write := self._book.take(time.monotonic())) is not None:
                outcome = await self._post(write)
                self._book.settle(write, outcome, time.monotonic())

    async def _post(self, write: EventWrite) -> Outcome:
        try:
            if write.creates:
                await self._api.create(write.path, write.body)
            else:
                await self._api.merge(write.path, write.body)
        except ApiUnavailable as error:
            return self._failed(write, error)
        self._metrics.events.labels("posted").inc()
        self._failure = None
        return Outcome.POSTED

    def _failed(self, write: EventWrite, error: ApiUnavailable) -> Outcome:
        if not isinstance(error, ApiRefused) or error.status == _TOO_MANY or error.status >= _SERVER_ERRORS:
            return Outcome.NO_ANSWER
        if error.not_found and not write.creates:
            return Outcome.GONE
        self._metrics.events.labels("refused").inc()
        if str(error) != self._failure:
            _log.warning("an event is not posted: %s", error)
        self._failure = str(error)
        return Outcome.REFUSED


def _status_of(node: Raw, otherwise: LvsNodeStatus) -> LvsNodeStatus:
    """What the LvsNode says; where that can not be read there is nothing to compare with."""
    try:
        return lvs_node_from_raw(node).status or LvsNodeStatus()
    except InvalidObject:
        return otherwise
