"""Starts the operator and ends it cleanly: `python -m lvs_operator`."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from lvs_operator import metrics
from lvs_operator.agent_daemonset import AgentDaemonSet, read_template
from lvs_operator.agent_leases import AgentLeases
from lvs_operator.api_client import ApiClient, BlockingApiClient, read_kubeconfig
from lvs_operator.cache import Cache
from lvs_operator.concern import Concern
from lvs_operator.errors import OperatorError, SettingsError
from lvs_operator.event_poster import EventPoster
from lvs_operator.health_endpoint import HealthEndpoint
from lvs_operator.leader import Leader
from lvs_operator.process_memory import seek_cycles_seldom
from lvs_operator.reconcile import Reconciler, Rhythm
from lvs_operator.settings import Settings, from_process
from lvs_operator.watch_thread import WatchThread
from lvs_operator.watched_kinds import WatchedKind

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 1.0
STUCK_SECONDS: Final = 60.0
"""Without a heartbeat for so long the main loop counts as stuck."""
WATCH_END_SECONDS: Final = 12.0
LEASE_TIMEOUT: Final = 4.0


class ThreadDiedError(OperatorError):
    """A thread that must run as long as the process has ended."""


class Operator:
    """All parts, wired."""

    def __init__(self, settings: Settings, client: ApiClient) -> None:
        config = read_kubeconfig(settings.kubeconfig)
        self._loop = asyncio.get_running_loop()
        self._cache = Cache(went_back=self._went_back)
        self._concern = Concern(self._cache)
        self._leader = Leader(
            client=BlockingApiClient(config, timeout=LEASE_TIMEOUT),
            namespace=settings.namespace,
            identity=settings.identity,
            times=settings.lease,
            on_gain=self._gained,
        )
        self._leases = AgentLeases(client, settings.namespace, self._wake, doubt=self._doubt)
        self._events = EventPoster(client, identity=settings.identity, leads=lambda: self._leader.leads)
        self._reconciler = Reconciler(
            client=client,
            cache=self._cache,
            leader=self._leader,
            rhythm=Rhythm(check=settings.check_seconds, counts=settings.count_seconds),
            daemonset=_daemonset(settings, client, self._leader),
            signs=lambda: self._leases.signs,
            events=self._events,
            requires_address_pool=settings.require_address_pool,
        )
        self._watch = WatchThread(config, self._deliver, self._listed)
        self._health = HealthEndpoint(settings.listen, health=self._health_complaint, readiness=self._readiness)
        self._beat = time.monotonic()

    async def run(self) -> None:
        """Until cancelled, or until a thread dies, which raises ThreadDiedError."""
        self._health.start()
        self._leader.start()
        self._watch.start()
        logger.info("health and metrics on port %s", self._health.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reconciler.run(), name="reconcile")
                group.create_task(self._leases.run(), name="agents' Leases")
                group.create_task(self._events.run(), name="events")
                group.create_task(self._supervise(), name="supervise")
        finally:
            await asyncio.gather(
                asyncio.to_thread(self._leader.stop), asyncio.to_thread(self._watch.stop, WATCH_END_SECONDS)
            )
            self._health.stop()

    async def _supervise(self) -> None:
        while True:
            self._beat = time.monotonic()
            metrics.LEADING.set(1 if self._leader.leads else 0)
            if not self._leader.alive:
                raise ThreadDiedError("the thread that renews the Lease has ended")
            if not self._watch.alive:
                raise ThreadDiedError("the thread that watches has ended")
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _deliver(self, kind: WatchedKind, raw: Mapping[str, Any], gone: bool) -> None:
        """From the watch thread: hand an event to the main loop."""
        self._loop.call_soon_threadsafe(self._take, kind, raw, gone)

    def _take(self, kind: WatchedKind, raw: Mapping[str, Any], gone: bool) -> None:
        before = self._cache.get(kind, raw["metadata"]["uid"])
        if self._cache.apply(kind, raw, gone=gone):
            after = self._cache.get(kind, raw["metadata"]["uid"])
            if self._concern.is_in(before, after):
                self._reconciler.wake()

    def _listed(self) -> None:
        """From the watch thread."""
        self._loop.call_soon_threadsafe(self._reconciler.doubt_view)

    def _wake(self) -> None:
        self._reconciler.wake()

    def _doubt(self) -> None:
        self._reconciler.doubt_view()

    def _went_back(self) -> None:
        """The API server was restored to an older state."""
        self._watch.restart()
        self._reconciler.start_afresh()

    def _gained(self, afresh: bool) -> None:
        """From the Lease's thread."""
        self._loop.call_soon_threadsafe(self._reconciler.start_afresh if afresh else self._reconciler.wake)

    def _health_complaint(self) -> str | None:
        """From the endpoint's threads."""
        silent = time.monotonic() - self._beat
        return f"the main loop has been stuck for {silent:.0f} s" if silent > STUCK_SECONDS else None

    def _readiness(self) -> str | None:
        if self._cache.complete and not self._watch.watching:
            return "not watching: kopf is being started"
        return self._cache.complaint


def _daemonset(settings: Settings, client: ApiClient, leader: Leader) -> AgentDaemonSet | None:
    if settings.agent_daemonset_file is None:
        return None
    read_template(settings.agent_daemonset_file, settings.namespace)  # a wrong one is said at once
    return AgentDaemonSet(client, settings.agent_daemonset_file, settings.namespace, leader.may_write)


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    async with ApiClient(read_kubeconfig(settings.kubeconfig)) as client:
        work = asyncio.create_task(Operator(settings, client).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        await asyncio.wait({work})
        if work.cancelled():
            logger.info("ended")
            return
        work.result()


def _set_up_logging(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if level != "DEBUG":
        logging.getLogger("kopf").setLevel(logging.CRITICAL)  # a stack trace per watch; its end is told by us
        for chatty in ("httpx2", "httpcore2"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


def main() -> int:
    """Exit code 0 after SIGTERM, 2 for wrong settings, 1 when something died."""
    try:
        settings = from_process(sys.argv[1:])
        _set_up_logging(settings.log_level)
        seek_cycles_seldom()
        asyncio.run(run(settings))
    except SettingsError as error:
        print(f"lvs-operator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
