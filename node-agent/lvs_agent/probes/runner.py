"""Runs the checks, in a process of its own, so that neither table work nor the API delays one."""

import asyncio
import errno
import os
from collections.abc import Callable

from lvs_agent.decide.health_verdict import Check, Streak, judge
from lvs_agent.probes.http import HttpProbe
from lvs_agent.probes.interface import MAX_DETAIL, Outcome, Probe
from lvs_agent.probes.messages import StartCheck, VerdictChanged
from lvs_agent.probes.tcp import TcpProbe

START_SPACING_SECONDS = 0.002
"""Checks that arrive together start so far apart, at most spread over one interval; later rounds keep the spread."""

Tell = Callable[[VerdictChanged], None]


def make_probe(check: Check) -> Probe:
    """The probe for a check."""
    if check.http is not None:
        return HttpProbe(check.address, check.port, check.http)
    return TcpProbe(check.address, check.port)


class Runner:
    """All checks that run, by number; `tell` hears of each change of a verdict."""

    def __init__(self, tell: Tell, probe_for: Callable[[Check], Probe] = make_probe) -> None:
        self._tell = tell
        self._probe_for = probe_for
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next_start = 0.0
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done, with the error, when a check ended by itself: its verdict would stay for ever."""

    def start(self, order: StartCheck) -> None:
        """Run a check until it is stopped."""
        self.stop(order.number)
        now = asyncio.get_running_loop().time()
        self._next_start = max(now, self._next_start + START_SPACING_SECONDS)
        wait = (self._next_start - now) % order.check.interval_seconds
        task = self._tasks[order.number] = asyncio.create_task(self._repeat(order, now + wait))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)

    def stop(self, number: int) -> None:
        """Forget a check; one that is not known was stopped before."""
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()

    async def stop_all(self) -> None:
        """End every check."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, order: StartCheck, due: float) -> None:
        """Check at fixed times; those that this process was too busy for are left out."""
        loop = asyncio.get_running_loop()
        check, probe = order.check, self._probe_for(order.check)
        streak = Streak(verdict=order.verdict)
        while True:
            await asyncio.sleep(due - loop.time())
            outcome = await _check_once(probe, check.timeout_seconds)
            before = streak.verdict
            streak = judge(streak, passed=outcome.passed, rise=check.rise, fall=check.fall)
            if streak.verdict is not before:
                self._tell(VerdictChanged(number=order.number, verdict=streak.verdict, detail=outcome.detail))
            due += check.interval_seconds
            late = loop.time() - due
            if late > 0:
                due += check.interval_seconds * (1 + late // check.interval_seconds)


async def _check_once(probe: Probe, timeout_seconds: float) -> Outcome:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await probe.check()
    except TimeoutError:
        return Outcome(passed=False, detail="no answer in time")
    except OSError as error:
        return Outcome(passed=False, detail=_said(error))


def _said(error: OSError) -> str:
    """A network error in a few words; asyncio's own text repeats the address."""
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return str(error)[:MAX_DETAIL]
