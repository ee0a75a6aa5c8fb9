"""Runs kopf in a thread and loop of its own, and starts it again whenever it ends.

kopf ends on 4xx answers, after about a minute without an API server, on errors within a stream; and when it ends it
cancels every task of its loop. None of that may touch the loop that decides and writes.
"""

import asyncio
import base64
import logging
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, cast

import kopf
from lightkube.config.kubeconfig import SingleConfig

from lvs_operator import metrics
from lvs_operator.api_client import ApiClient
from lvs_operator.errors import ApiError
from lvs_operator.handlers import Deliver, Listed, build_registry
from lvs_operator.watched_kinds import WATCHED_KINDS

logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
MISSING_PAUSE: Final = 5.0
"""While a kind is not served: somebody is installing the CRDs."""
END_SECONDS: Final = 5.0
"""For kopf to end by itself."""
GOOD_RUN: Final = 60.0
"""A run of this many seconds resets the pause."""


class WatchThread:
    """Delivers events until it is stopped. `start` and `stop` from the main thread."""

    def __init__(self, config: SingleConfig, deliver: Deliver, listed: Listed) -> None:
        self._config = config
        self._deliver = deliver
        self._listed = listed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._end_run: asyncio.Event | None = None
        """Ends the present run of kopf; another follows."""
        self._ready: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._supervise()), name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()
        self._started.wait()

    def stop(self, timeout: float) -> None:
        """End kopf and the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning("kopf did not end within %s s", timeout)

    def restart(self) -> None:
        """List everything anew: kopf resumes watches with versions that the API server may never have had."""
        run = self._end_run
        if self._loop is not None and run is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(run.set)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; without it only the periodic check sees changes."""
        return self._thread.is_alive()

    @property
    def watching(self) -> bool:
        """Whether kopf runs, as far as it says."""
        return self._ready is not None and self._ready.is_set()

    async def _supervise(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_log_briefly)
        self._started.set()
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            began = time.monotonic()
            if await self._kinds_are_served():
                await self._run_kopf(self._stop)
            else:
                pause = min(pause, MISSING_PAUSE)
            if time.monotonic() - began > GOOD_RUN:
                pause = FIRST_PAUSE
            await _wait(self._stop, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _kinds_are_served(self) -> bool:
        """Kopf takes a kind that is not served for an empty one, so it is not started before all are."""
        async with ApiClient(self._config) as client:
            for group in dict.fromkeys(kind.api for kind in WATCHED_KINDS):
                try:
                    served = await client.get(group)
                except ApiError as error:
                    logger.warning("not watching yet: %s", error)
                    return False
                names = {resource["name"] for resource in served.get("resources", [])}
                missing = {kind.plural for kind in WATCHED_KINDS if kind.api == group} - names
                if missing:
                    logger.warning("not watching yet: %s does not serve %s", group, ", ".join(sorted(missing)))
                    return False
        return True

    async def _run_kopf(self, stop: asyncio.Event) -> None:
        before = asyncio.all_tasks()
        self._ready, ending = asyncio.Event(), asyncio.Event()
        self._end_run = ending
        run = asyncio.create_task(
            kopf.operator(
                identity=cast("Any", "lvs-operator"),  # else kopf asks for a user name, which a container need not have
                registry=build_registry(self._deliver, self._listed, lambda: connection_info(self._config), ending.set),
                settings=kopf_settings(),
                clusterwide=True,
                standalone=True,
                stop_flag=ending,
                ready_flag=self._ready,
            ),
            name="kopf",
        )
        ends = {asyncio.create_task(event.wait()) for event in (stop, ending)}
        await asyncio.wait({run, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for one in ends:
            one.cancel()
        ending.set()
        await _end(run, before)
        self._ready = self._end_run = None
        error = None if run.cancelled() else run.exception()
        if not stop.is_set():
            metrics.WATCH_RESTARTS.inc()
            logger.warning("kopf ended and is started again: %s", error or "no error")


async def _end(run: "asyncio.Task[None]", ours: Collection["asyncio.Task[Any]"]) -> None:
    """Wait until kopf has ended, which it is about to; `ours` are the tasks that are none of its.

    It cancels every task at once, those by which its schedulers would notice that a worker has ended, too, and waits
    for ever where a worker was there (kopf 1.45, Scheduler.close). What waits so is cancelled once more.
    """
    while not (await asyncio.wait({run}, timeout=END_SECONDS))[0]:
        for task in asyncio.all_tasks().difference(ours):
            task.cancel()


def _log_briefly(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Kopf leaves one failed task per watch behind when it ends; its end itself is said in one line."""
    logger.debug("left behind by kopf: %s: %r", context["message"], context.get("exception"))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({waiter}, timeout=seconds)
    waiter.cancel()


def connection_info(config: SingleConfig) -> kopf.ConnectionInfo:
    """What lightkube read, as kopf wants it; a token file is read anew, for the kubelet renews it."""
    cluster, user = config.cluster, config.user
    token = Path(user.token_file).read_text().strip() if user and user.token_file else (user.token if user else None)
    return kopf.ConnectionInfo(
        server=cluster.server,
        ca_path=_path(config, cluster.certificate_auth),
        ca_data=_decoded(cluster.certificate_auth_data),
        insecure=cluster.insecure,
        token=token,
        certificate_path=_path(config, user.client_cert if user else None),
        certificate_data=_decoded(user.client_cert_data if user else None),
        private_key_path=_path(config, user.client_key if user else None),
        private_key_data=_decoded(user.client_key_data if user else None),
    )


def _path(config: SingleConfig, path: str | None) -> str | None:
    return str(config.abs_file(path)) if path else None


def _decoded(data: str | None) -> bytes | None:
    return base64.b64decode(data) if data else None


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf's settings: alone, silent, and giving up early, because whoever runs it starts it again."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True  # discovery is checked before each start; CRDs need not be watched
    settings.process.ultimate_exiting_timeout = None  # else kopf kills the process when its own end takes long
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (1, 2, 4)
    settings.watching.inactivity_timeout = 75  # the server sends a bookmark each minute
    settings.watching.reconnect_backoff = 1
    settings.watching.chunk_size = 500
    settings.queueing.idle_timeout = 1
    return settings
