"""Keeps keepalived running by what the agent wants, and says what it does. The agent may come and go meanwhile.

A configuration is tested before keepalived sees it; one that it refuses changes nothing. One that ends without having
been told to is started again, with growing, bounded delays; what it left on devices is taken away before, for nobody
speaks for it. An orderly end lets keepalived hand the addresses over. Who else sends adverts is heard here, beside
keepalived and for as long, by a socket of its own: keepalived's log names nobody who sends well and is weaker.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from lvs_agent.decide.changes import UnbindAddress
from lvs_agent.decide.heard_adverts import Sender, remember
from lvs_agent.decide.virtual_routers import DaemonWord, RouterWord, WantedVrrp
from lvs_agent.errors import KeepalivedMissing, LinkError, StateFileDamaged, StateNotWritten
from lvs_agent.kernel.interface import Adverts, Links
from lvs_agent.vrrp.keepalived import Keepalived
from lvs_agent.vrrp.notifications import LineReader, read_notification
from lvs_agent.vrrp.shared_directory import VrrpDirectory, digest_of
from lvs_api.conditions import timestamp

LOOK_SECONDS: Final = 0.25
"""So often it is looked whether the agent wants something else."""
FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""One that lived so long is started again at once."""
SETTLED_SECONDS: Final = 5.0
"""So long after a reload keepalived has let go of what is not in its configuration any more."""
_READ: Final = 65536
_log = logging.getLogger(__name__)


def _now() -> str:
    return timestamp(datetime.now(UTC))


class VrrpSupervisor:
    """Owner of keepalived and of what its configurations put on devices."""

    def __init__(
        self,
        directory: VrrpDirectory,
        keepalived: Keepalived,
        links: Links,
        adverts: Adverts,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = _now,
    ) -> None:
        self._directory = directory
        self._keepalived = keepalived
        self._links = links
        self._adverts = adverts
        self._senders: dict[Sender, float] = {}
        self._monotonic = monotonic
        self._now = now
        self._news = asyncio.Event()
        self._lines = LineReader()
        self._fifo = -1
        self._word = DaemonWord()
        self._said: DaemonWord | None = None
        self._failure = ""
        self._unsaid = ""
        """Why the word could not be written."""
        self._mark: tuple[int, int] | None = None
        self._accepted: WantedVrrp | None = None
        self._delay = FIRST_DELAY
        self._began = 0.0
        self._due: float | None = None
        """When keepalived, or a configuration that could not be tested, is tried again."""
        self._settled_at: float | None = None
        self._ended: asyncio.Task[int] | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop. Raises VrrpSupervisorRuns and StateNotWritten where it cannot begin."""
        self._directory.acquire()
        self._say()  # in the place of the last word of a supervisor that was killed
        if await self._keepalived.end_left():
            _log.warning("ended a keepalived that a former supervisor left behind")
        await self._sweep()
        self._open_fifo()
        try:
            while not stopping.is_set():
                await self._round()
                await self._wait(stopping)
        finally:
            await self._end()

    async def _round(self) -> None:
        try:
            if self._ended is not None and self._ended.done():
                await self._bury(self._ended.result())
            mark = self._directory.wanted_mark()
            is_due = self._due is not None and self._due <= self._monotonic()
            if mark != self._mark or is_due:
                self._mark = mark
                await self._follow()
            if self._settled_at is not None and self._settled_at <= self._monotonic() and self._accepted is not None:
                self._directory.write_bound(self._accepted.binds)
                self._settled_at = None
        except (KeepalivedMissing, StateFileDamaged, StateNotWritten, LinkError) as error:
            self._retry(str(error))
        self._senders = remember(self._senders, self._adverts.hear(), self._monotonic())
        self._word = replace(self._word, senders=frozenset(self._senders))
        self._say()

    async def _wait(self, stopping: asyncio.Event) -> None:
        waiting = [asyncio.create_task(self._news.wait()), asyncio.create_task(stopping.wait())]
        done, left = await asyncio.wait(waiting, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if done:
            self._news.clear()

    async def _follow(self) -> None:
        """Run by what is wanted now."""
        wanted = self._directory.read_wanted()
        self._due = None
        if wanted is None:
            return
        if wanted.is_empty:
            await self._stop_for(wanted)
            return
        if wanted == self._accepted:
            self._word = replace(self._word, refused=None, refusal="")
        elif not await self._takes(wanted):
            if self._accepted is None:
                return
            wanted = self._accepted
        if self._keepalived.pid is None:
            await self._start(wanted)
        elif wanted != self._accepted:
            self._reload(wanted)
        self._accepted = wanted
        self._word = replace(self._word, accepted=digest_of(wanted), pid=self._keepalived.pid, trouble="")

    async def _takes(self, wanted: WantedVrrp) -> bool:
        refusal = await self._keepalived.test(wanted.text)
        digest = None if refusal is None else digest_of(wanted)
        if refusal is not None:
            if digest != self._word.refused:
                _log.error("keepalived refuses its configuration: %s", refusal)
            # Perhaps it had no time, or no memory, to read it.
            self._due = self._monotonic() + LONGEST_DELAY
        self._word = replace(self._word, refused=digest, refusal=refusal or "")
        return refusal is None

    async def _start(self, wanted: WantedVrrp) -> None:
        version = self._word.version or await self._keepalived.version()
        await self._sweep()  # what could not be taken away when the one before ended
        self._directory.write_bound(self._directory.read_bound() | wanted.binds)
        self._keepalived.place(wanted.text)
        await self._keepalived.start()
        self._began = self._monotonic()
        _log.info("started keepalived %s, process %s", version, self._keepalived.pid)
        self._word = replace(self._word, version=version, routers={})
        self._ended = asyncio.create_task(self._keepalived.ended())
        self._ended.add_done_callback(lambda _: self._news.set())

    def _reload(self, wanted: WantedVrrp) -> None:
        self._directory.write_bound(self._directory.read_bound() | wanted.binds)
        self._keepalived.place(wanted.text)
        self._keepalived.reload()
        self._settled_at = self._monotonic() + SETTLED_SECONDS
        _log.info("keepalived reads its configuration again")

    async def _stop_for(self, wanted: WantedVrrp) -> None:
        if self._keepalived.pid is not None:
            _log.info("no virtual router is left: keepalived ends")
            if await self._stop():
                # What is there now the agent has taken back meanwhile: the group settles without VRRP from now on.
                self._directory.write_bound(frozenset())
        await self._sweep()
        self._accepted = None
        self._word = replace(
            self._word, accepted=digest_of(wanted), refused=None, refusal="", pid=None, trouble="", routers={}
        )

    async def _stop(self) -> bool:
        """Whether keepalived has let its addresses go."""
        if self._ended is not None:
            self._ended.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ended
            self._ended = None
        has_let_go = await self._keepalived.stop()
        self._hear()
        return has_let_go

    async def _bury(self, code: int) -> None:
        """After an end that nobody asked for: what is left goes, and it is started again."""
        self._ended = None
        self._hear()
        if self._monotonic() - self._began > STEADY_SECONDS:
            self._delay, self._failure = FIRST_DELAY, ""
        self._word = replace(self._word, pid=None, accepted=None, routers={}, restarts=self._word.restarts + 1)
        self._retry(f"keepalived ended by itself, with {code}")
        await self._keepalived.end_left()
        await self._sweep()

    def _retry(self, why: str) -> None:
        if why != self._failure:
            _log.warning("%s; tried again in %.1f s", why, self._delay)
        self._failure = why
        if self._keepalived.pid is None:
            self._word = replace(self._word, trouble=why)
        self._due = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    async def _sweep(self) -> None:
        """Take away what a keepalived that is no more has left. Raises LinkError."""
        bound = self._directory.read_bound()
        if not bound:
            return
        left = bound & (await self._links.read(fresh=True)).bindings()
        if left:
            names = ", ".join(sorted(f"{one.address} on {one.device}" for one in left))
            _log.warning("taking away what keepalived left: %s", names)
        failures = await self._links.apply([UnbindAddress(binding=one) for one in sorted(left, key=str)])
        for failure in failures:
            _log.warning("%s", failure.error)
        self._directory.write_bound(frozenset(failure.change.binding for failure in failures))

    def _open_fifo(self) -> None:
        """Made here, so that keepalived does not remove it; open for writing, too, so that it has no end."""
        path = self._directory.places.notify_fifo
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            self._fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise StateNotWritten(f"{path}: {error.strerror or error}") from error
        asyncio.get_running_loop().add_reader(self._fifo, self._hear_and_say)

    def _hear_and_say(self) -> None:
        self._hear()
        self._say()

    def _hear(self) -> None:
        """Take over what keepalived has written."""
        if self._fifo < 0:
            return
        try:
            data = os.read(self._fifo, _READ)
        except BlockingIOError:
            return
        for line in self._lines.feed(data):
            try:
                change = read_notification(line)
            except ValueError as error:
                _log.warning("%s", error)
                continue
            if change is None:
                continue
            known = self._word.routers.get(change.router)
            routers = {key: one for key, one in self._word.routers.items() if key != change.router}
            if change.state is not None:
                if known is not None and known.state is change.state:
                    continue
                changes = 0 if known is None else known.changes + 1
                routers[change.router] = RouterWord(change.state, self._now(), changes)
                _log.info("%s is %s", change.router, change.state)
            self._word = replace(self._word, routers=routers)

    def _say(self) -> None:
        if self._word == self._said:
            return
        try:
            self._directory.write_word(self._word)
        except StateNotWritten as error:
            if str(error) != self._unsaid:
                _log.warning("%s", error)
            self._unsaid = str(error)
        else:
            self._said, self._unsaid = self._word, ""

    async def _end(self) -> None:
        if self._keepalived.pid is not None:
            _log.info("stopping: keepalived hands its addresses over")
        await self._stop()
        await self._sweep()
        asyncio.get_running_loop().remove_reader(self._fifo)
        os.close(self._fifo)
        self._fifo = -1
        self._word = replace(self._word, pid=None, accepted=None, routers={})
        self._say()
