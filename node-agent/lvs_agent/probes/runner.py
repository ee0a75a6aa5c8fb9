"""Runs the checks, in a process of its own, so that neither table work nor the API delays one."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from typing import Any

from lvs_agent.decide.health_verdict import Check, Streak, judge
from lvs_agent.probes.http import HttpProbe
from lvs_agent.probes.interface import MAX_DETAIL, CheckNotMade, Outcome, Probe, Result
from lvs_agent.probes.messages import AskAgent, StartCheck, VerdictChanged, WordHeard
from lvs_agent.probes.open_files import MOST_AT_ONCE
from lvs_agent.probes.sightings import Sightings
from lvs_agent.probes.tcp import TcpProbe
from lvs_agent.probes.word import NoWord, ask_agent

START_SPACING_SECONDS = 0.002
"""Checks that arrive together start so far apart, at most spread over one interval; later rounds keep the spread."""
LATE_SECONDS = 0.5
"""A time-out that is noticed so much too late is no news: this process did not run, and may have missed the answer."""
_NO_TURN = Outcome(result=Result.NOT_MADE, detail="too many checks at once")
_SILENT = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT})
ASK_SECONDS = 1.0
"""Between questions to one agent, and the time that it has to answer."""

Tell = Callable[[VerdictChanged | WordHeard], None]


def make_probe(check: Check) -> Probe:
    """The probe for a check."""
    if check.http is not None:
        return HttpProbe(check.address, check.port, check.http)
    return TcpProbe(check.address, check.port)


class Runner:
    """All checks that run and agents that are asked, by number; `tell` hears of changed verdicts and of answers.

    Those that are due while `at_once` are under way wait for their turn, first come first served, and only then their
    time begins: waiting is no news of a real server.
    """

    def __init__(
        self, tell: Tell, probe_for: Callable[[Check], Probe] = make_probe, *, at_once: int = MOST_AT_ONCE
    ) -> None:
        self._tell = tell
        self._probe_for = probe_for
        self._turns = asyncio.Semaphore(at_once)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next_start = 0.0
        self.sightings = Sightings()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done, with the error, when a check ended by itself: its verdict would stay for ever."""

    def start(self, order: StartCheck) -> None:
        """Run a check until it is stopped."""
        self._run(order.number, self._repeat(order, self._first(order.check.interval_seconds)))

    def ask(self, order: AskAgent) -> None:
        """Ask an agent until it is stopped."""
        self._run(order.number, self._repeat_ask(order, self._first(ASK_SECONDS)))

    def _first(self, interval: float) -> float:
        """When something that is repeated starts, on the loop's clock."""
        now = asyncio.get_running_loop().time()
        self._next_start = max(now, self._next_start + START_SPACING_SECONDS)
        return now + (self._next_start - now) % interval

    def _run(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        self.stop(number)
        task = self._tasks[number] = asyncio.create_task(work)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)

    def stop(self, number: int) -> None:
        """Forget a check or a question; one that is not known was stopped before."""
        self.sightings.forget(number)
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()

    async def stop_all(self) -> None:
        """End everything."""
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
            await self._take_turn(order)
            had_heard = self.sightings.has_heard
            try:
                outcome = await _check_once(probe, check.timeout_seconds)
            finally:
                self._turns.release()
            if self.sightings.is_news(order.number, outcome, had_heard=had_heard, fall=check.fall):
                before = streak.verdict
                streak = judge(streak, passed=outcome.result is Result.PASSED, rise=check.rise, fall=check.fall)
                if streak.verdict is not before:
                    self._tell(VerdictChanged(number=order.number, verdict=streak.verdict, detail=outcome.detail))
            due = _next_due(due, check.interval_seconds, loop.time())

    async def _take_turn(self, order: StartCheck) -> None:
        """Wait for a turn; each interval that passes meanwhile is a check that was not made."""
        if not self._turns.locked():
            await self._turns.acquire()
            return
        taking = asyncio.ensure_future(self._turns.acquire())
        try:
            while not (await asyncio.wait({taking}, timeout=order.check.interval_seconds))[0]:
                self.sightings.is_news(order.number, _NO_TURN, had_heard=False, fall=order.check.fall)
        except asyncio.CancelledError:
            if not taking.cancel():
                self._turns.release()  # it came to pass in the same moment
            raise

    async def _repeat_ask(self, order: AskAgent, due: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(due - loop.time())
            async with self._turns:
                heard = await _ask_once(order)
            self._tell(heard)
            due = _next_due(due, ASK_SECONDS, loop.time())


def _next_due(due: float, interval: float, now: float) -> float:
    """The next of the fixed times that is not over yet."""
    due += interval
    late = now - due
    return due + interval * (1 + late // interval) if late > 0 else due


async def _check_once(probe: Probe, timeout_seconds: float) -> Outcome:
    loop = asyncio.get_running_loop()
    due = loop.time() + timeout_seconds
    try:
        async with asyncio.timeout_at(due):
            return await probe.check()
    except TimeoutError:
        if loop.time() - due > LATE_SECONDS:
            return Outcome(result=Result.NOT_MADE, detail="this node was too busy to check")
        return Outcome(result=Result.UNANSWERED, detail="no answer in time")
    except CheckNotMade as error:
        return Outcome(result=Result.NOT_MADE, detail=str(error)[:MAX_DETAIL])
    except OSError as error:
        result = Result.UNANSWERED if error.errno in _SILENT else Result.FAILED
        return Outcome(result=result, detail=_said(error))


async def _ask_once(order: AskAgent) -> WordHeard:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            word = await ask_agent(order.address, order.port)
    except TimeoutError:
        return WordHeard(number=order.number, detail="no answer in time")
    except OSError as error:
        return WordHeard(number=order.number, detail=_said(error))
    except NoWord as error:
        return WordHeard(number=order.number, detail=str(error)[:MAX_DETAIL])
    return WordHeard(number=order.number, carried=word.carried)


def _said(error: OSError) -> str:
    """A network error in a few words; asyncio's own text repeats the address."""
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return str(error)[:MAX_DETAIL]
