"""The probe process: orders on standard input, verdicts on standard output. It ends when its input does."""

import asyncio
import signal
import sys
from collections.abc import Callable

from lvs_agent.probes.messages import (
    BEAT_SECONDS,
    MAX_LINE,
    Tally,
    VerdictChanged,
    WordHeard,
    decode_orders,
    encode_tally,
    encode_verdicts,
    encode_word_heard,
)
from lvs_agent.probes.open_files import raise_limit
from lvs_agent.probes.runner import Runner


class _Outbox:
    """Collects news and writes it out, that of one moment together; a beat when there was none for a while."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._changes: list[VerdictChanged] = []
        self._words: list[WordHeard] = []
        self._filled = asyncio.Event()

    def put(self, news: VerdictChanged | WordHeard) -> None:
        if isinstance(news, WordHeard):
            self._words.append(news)
        else:
            self._changes.append(news)
        self._filled.set()

    async def run(self, take_tally: Callable[[], Tally]) -> None:
        while True:
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._filled.wait()
            except TimeoutError:
                pass
            self._filled.clear()
            changes, self._changes = self._changes, []
            words, self._words = self._words, []
            for line in (encode_tally(take_tally()), *encode_verdicts(changes), *map(encode_word_heard, words)):
                self._writer.write(line)
            await self._writer.drain()


async def serve(at_once: int) -> None:
    """Serve the agent at the other end of the pipes until it closes them; so many checks are made at once."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    outbox = _Outbox(asyncio.StreamWriter(transport, protocol, None, loop))
    runner = Runner(outbox.put, at_once=at_once)
    sending = asyncio.create_task(outbox.run(runner.sightings.take_tally))
    receiving = asyncio.create_task(_receive(reader, runner))
    await asyncio.wait({sending, receiving, runner.broken}, return_when=asyncio.FIRST_COMPLETED)
    for task in (sending, receiving):
        task.cancel()
    await runner.stop_all()
    await asyncio.gather(sending, receiving, return_exceptions=True)
    if runner.broken.done():
        runner.broken.result()  # said on standard error; the agent starts another process


async def _receive(reader: asyncio.StreamReader, runner: Runner) -> None:
    while line := await reader.readline():
        orders = decode_orders(line)
        for number in orders.stops:
            runner.stop(number)
        for order in orders.starts:
            runner.start(order)
        for ask in orders.asks:
            runner.ask(ask)


def main() -> None:
    """Entry point of `python -m lvs_agent.probes`."""
    # The agent decides when this process ends; a terminal's or a supervisor's signal to the group is meant for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.run(serve(raise_limit()))


if __name__ == "__main__":
    main()
