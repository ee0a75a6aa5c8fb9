"""The probe process: orders on standard input, verdicts on standard output. It ends when its input does."""

import asyncio
import signal
import sys

from lvs_agent.probes.messages import BEAT_SECONDS, MAX_LINE, VerdictChanged, decode_orders, encode_verdicts
from lvs_agent.probes.open_files import raise_limit
from lvs_agent.probes.runner import Runner


class _Outbox:
    """Collects changes and writes them out, those of one moment together; a beat when there were none for a while."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._changes: list[VerdictChanged] = []
        self._filled = asyncio.Event()

    def put(self, change: VerdictChanged) -> None:
        self._changes.append(change)
        self._filled.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._filled.wait()
            except TimeoutError:
                pass
            self._filled.clear()
            changes, self._changes = self._changes, []
            for line in encode_verdicts(changes):
                self._writer.write(line)
            await self._writer.drain()


async def serve() -> None:
    """Serve the agent at the other end of the pipes until it closes them."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    outbox = _Outbox(asyncio.StreamWriter(transport, protocol, None, loop))
    runner = Runner(outbox.put)
    sending = asyncio.create_task(outbox.run())
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
        starts, stops = decode_orders(line)
        for number in stops:
            runner.stop(number)
        for order in starts:
            runner.start(order)


def main() -> None:
    """Entry point of `python -m lvs_agent.probes`."""
    # The agent decides when this process ends; a terminal's or a supervisor's signal to the group is meant for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise_limit()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
