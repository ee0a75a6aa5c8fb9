"""The agent's end: keeps the probe process running, knows the last verdict of every check and what agents said.

A process that died or fell silent is started again with growing, bounded delays. Meanwhile every verdict stays as it
was: unknown is not down.
"""

import asyncio
import contextlib
import logging
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.fresh_word import Answer, Words
from lvs_agent.decide.health_verdict import Check, CheckResult, Verdict
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.sight import Sight, blindness
from lvs_agent.probes.interface import Result
from lvs_agent.probes.messages import (
    BEAT_SECONDS,
    MAX_LINE,
    AskAgent,
    StartCheck,
    Tally,
    WordHeard,
    decode_told,
    encode_ask,
    encode_start,
    encode_stop,
)

SILENCE_SECONDS: Final = 5 * BEAT_SECONDS
START_SECONDS: Final = 30.0
"""Silence that is forgiven before the first word: importing takes long on a node that has just booted."""
COMMAND: Final = (sys.executable, "-m", "lvs_agent.probes")
_FIRST_DELAY: Final = 0.2
_LONGEST_DELAY: Final = 30.0

_log = logging.getLogger(__name__)


def _count_nothing(result: Result, number: int) -> None:
    """Nobody wants to know."""


class ProbeSupervisor:
    """Owner of the probe process. `wake` is called when a verdict changed, or what an agent says.

    Without `word_port` no agents are asked.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        *,
        word_port: int | None = None,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        command: Sequence[str] = COMMAND,
        silence_seconds: float = SILENCE_SECONDS,
        start_seconds: float = START_SECONDS,
        count: Callable[[Result, int], None] = _count_nothing,
    ) -> None:
        self._wake = wake
        self._count = count
        self._command = tuple(command)
        self._silence_seconds = silence_seconds
        self._start_seconds = start_seconds
        self._numbers: dict[Check, int] = {}
        self._health: dict[int, CheckResult] = {}
        self._verdicts: Mapping[Check, CheckResult] | None = None
        self._word_port = word_port
        self._boot_clock = boot_clock
        self._asked: dict[IPAddress, int] = {}
        self._answers: dict[int, Answer | None] = {}
        """By every number of `_asked`."""
        self._words: Words | None = None
        self._last_number = 0
        self._process: Process | None = None
        self._sight = Sight()
        self._last_word = time.monotonic()
        self.restarts = 0
        self.running = False

    def verdicts(self) -> Mapping[Check, CheckResult]:
        """What is known of every wanted check; the same object until something changes."""
        if self._verdicts is None:
            self._verdicts = {check: self._health[number] for check, number in self._numbers.items()}
        return self._verdicts

    def blindness(self) -> Fault | None:
        """Why checks say less than they should."""
        is_running = time.monotonic() - self._last_word < self._start_seconds
        return blindness(replace(self._sight, is_running=is_running)) if self._numbers else None

    def want(self, checks: Mapping[Check, Verdict]) -> None:
        """Run exactly these checks. The verdict given counts for those that did not run before."""
        gone = [check for check in self._numbers if check not in checks]
        numbers = [self._numbers.pop(check) for check in gone]
        for number in numbers:
            del self._health[number]
        starts = []
        for check, verdict in checks.items():
            if check not in self._numbers:
                number = self._numbers[check] = self._new_number()
                self._health[number] = CheckResult(verdict=verdict)
                starts.append(StartCheck(number=number, check=check, verdict=verdict))
        if numbers or starts:
            self._verdicts = None
            self._send([*encode_stop(numbers), *encode_start(starts)])

    def words(self) -> Words | None:
        """What the agents that are asked say; the same object until something changes. None: nobody is asked."""
        if self._words is None and self._word_port is not None:
            said = ((address, self._answers[number]) for address, number in self._asked.items())
            answers = {address: answer for address, answer in said if answer is not None}
            self._words = Words(port=self._word_port, answers=answers)
        return self._words

    def ask(self, addresses: AbstractSet[IPAddress]) -> None:
        """Ask the agents of exactly these real servers, again and again."""
        if self._word_port is None or addresses == self._asked.keys():
            return
        gone = [self._asked.pop(address) for address in self._asked.keys() - addresses]
        for number in gone:
            del self._answers[number]
        new = addresses - self._asked.keys()
        self._asked.update((address, self._new_number()) for address in new)
        self._answers.update((self._asked[address], None) for address in new)
        self._words = None
        self._send([*encode_stop(gone), *encode_ask(self._questions(new))])

    async def run(self) -> None:
        """Keep a process running until cancelled."""
        delay = _FIRST_DELAY
        while True:
            if await self._run_once():
                delay = _FIRST_DELAY
            self.restarts += 1
            _log.warning("the probe process ended; starting another in %.1f s, weights stay as they are", delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _run_once(self) -> bool:
        """Run one process to its end; whether it ever spoke."""
        spoke = False
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE, start_new_session=True
            )
        except OSError as error:
            _log.warning("the probe process can not be started: %s", error)
            return False
        self._process = process
        try:
            everything = [
                StartCheck(number=number, check=check, verdict=self._health[number].verdict)
                for check, number in self._numbers.items()
            ]
            self._send([*encode_start(everything), *encode_ask(self._questions(self._asked))])
            while (
                line := await self._read_line(process, self._silence_seconds if spoke else self._start_seconds)
            ) is not None:
                if not self._hear(line):
                    break
                spoke = self.running = True
        finally:
            self._process = None
            self.running = False
            await _end(process)
        return spoke

    async def _read_line(self, process: Process, patience: float) -> bytes | None:
        """The next line; None when the process ended, fell silent or talks without end."""
        if process.stdout is None:
            raise RuntimeError("the probe process was started without a pipe")
        try:
            async with asyncio.timeout(patience):
                return await process.stdout.readline() or None
        except TimeoutError:
            _log.warning("the probe process is silent for %.0f s", patience)
        except ValueError:
            _log.warning("the probe process sent a line over %d bytes", MAX_LINE)
        return None

    def _hear(self, line: bytes) -> bool:
        """Take verdicts over; False where the line is none of the process's, or only the beginning of one."""
        try:
            told = decode_told(line)
        except (ValueError, TypeError, KeyError) as error:
            _log.warning("the probe process sent something that is none of its words: %s", error)
            return False
        self._last_word = time.monotonic()
        if told.tally is not None:
            self._hear_tally(told.tally)
        changes = [change for change in told.verdicts if change.number in self._health]
        for change in changes:
            self._health[change.number] = CheckResult(verdict=change.verdict, detail=change.detail)
        if changes:
            self._verdicts = None
            self._wake()
        if told.word is not None:
            self._hear_word(told.word)
        return True

    def _hear_tally(self, tally: Tally) -> None:
        for result, number in tally.results.items():
            self._count(result, number)
        self._sight = Sight(silent=tally.silent, not_made=tally.not_made)

    def _hear_word(self, word: WordHeard) -> None:
        """Keep an answer; one that says the same as before is no reason for a round."""
        if word.number not in self._answers:
            return
        before = self._answers[word.number]
        answer = Answer(heard=self._boot_clock(), carried=word.carried, detail=word.detail)
        self._answers[word.number] = answer
        self._words = None
        if before is None or (before.carried, before.detail) != (answer.carried, answer.detail):
            self._wake()

    def _questions(self, addresses: Iterable[IPAddress]) -> list[AskAgent]:
        return [
            AskAgent(number=self._asked[address], address=str(address), port=self._word_port)
            for address in addresses
            if self._word_port is not None
        ]

    def _new_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _send(self, lines: Iterable[bytes]) -> None:
        """Hand lines to the process, if there is one; a new one gets everything at its start.

        Orders are small and the process reads them at once; what its pipe does not take yet is buffered here.
        """
        if self._process is None or self._process.stdin is None or self._process.stdin.is_closing():
            return
        for line in lines:
            self._process.stdin.write(line)


async def _end(process: Process) -> None:
    """Kill the process and wait for it."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
