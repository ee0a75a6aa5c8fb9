"""Posts events on users' objects, while this replica leads. Nothing waits for it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from lvs_api.conditions import timestamp
from lvs_api.events import Occurrence
from lvs_core.event_book import EventBook, EventWrite, Outcome, Pace, Regarding
from lvs_operator import metrics
from lvs_operator.api_client import FIELD_MANAGER, MERGE_PATCH, ApiClient
from lvs_operator.errors import ApiError, ApiNotFoundError, ApiUnavailableError
from lvs_operator.watched_kinds import Meta, WatchedKind

PACE: Final = Pace(burst=100, per_second=2.0, waiting=1000)
logger = logging.getLogger(__name__)


class EventPoster:
    """Owner of the book of events. Belongs to the main loop."""

    def __init__(self, client: ApiClient, *, identity: str, leads: Callable[[], bool]) -> None:
        self._client = client
        self._leads = leads
        self._book = EventBook(component=FIELD_MANAGER, instance=identity, pace=PACE)
        self._news = asyncio.Event()
        self._failure: str | None = None

    def post(self, kind: WatchedKind, meta: Meta, occurrences: Iterable[Occurrence]) -> None:
        """These happened to an object, whose status says so already."""
        regarding = Regarding(kind.api_version, kind.name, meta.namespace, meta.name, meta.uid)
        stamp = timestamp(datetime.now(UTC))
        for occurrence in occurrences:
            if self._book.note(regarding, occurrence, stamp):
                self._news.set()
            else:
                metrics.EVENTS.labels("dropped").inc()

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
        if not self._leads():
            metrics.EVENTS.labels("dropped").inc()
            return Outcome.REFUSED
        try:
            if write.creates:
                await self._client.create(write.path, write.body)
            else:
                await self._client.patch(write.path, write.body, content_type=MERGE_PATCH)
        except ApiUnavailableError:
            return Outcome.NO_ANSWER
        except ApiNotFoundError as error:
            return self._refused(error) if write.creates else Outcome.GONE
        except ApiError as error:
            return self._refused(error)
        metrics.EVENTS.labels("posted").inc()
        self._failure = None
        return Outcome.POSTED

    def _refused(self, error: ApiError) -> Outcome:
        """Told once: the namespace is going, or rights are missing."""
        metrics.EVENTS.labels("refused").inc()
        if str(error) != self._failure:
            logger.warning("an event is not posted: %s", error)
        self._failure = str(error)
        return Outcome.REFUSED
