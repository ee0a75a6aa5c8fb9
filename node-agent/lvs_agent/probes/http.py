"""A GET request is sent and the status of its answer compared; redirects are answers like others."""

import asyncio
import re
from typing import Final

from lvs_agent.decide.health_verdict import HttpRequest
from lvs_agent.probes.connection import connect
from lvs_agent.probes.interface import MAX_DETAIL, Outcome, Result

MAX_HEAD: Final = 16 * 1024
"""Bytes of status lines and headers that are looked at."""
_MAX_INTERIM: Final = 4
_MAX_HEADERS: Final = 64
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r|\n|$)")
_INTERIM: Final = range(100, 200)
_SUCCESS: Final = range(200, 300)
_SWITCHING_PROTOCOLS: Final = 101


class HttpProbe:
    """Passes when the answer's status is one of those expected. The body is not read."""

    def __init__(self, address: str, port: int, request: HttpRequest) -> None:
        self._address = address
        self._port = port
        self._expected = frozenset(request.expected_statuses)
        self._request = (
            f"GET {request.path} HTTP/1.1\r\nHost: {request.host}\r\n"
            "User-Agent: lvs-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode()

    async def check(self) -> Outcome:
        """Connect, ask, read the status."""
        connection = await connect(self._address, self._port)
        reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_HEAD)
        try:
            writer.write(self._request)
            await writer.drain()
            return await self._read_status(reader)
        finally:
            writer.transport.abort()

    async def _read_status(self, reader: asyncio.StreamReader) -> Outcome:
        """The verdict over the first answer that is not an interim one (RFC 9110, 15.2)."""
        for _ in range(_MAX_INTERIM):
            line = await _read_line(reader)
            status = _status(line)
            if status is None:
                return Outcome(result=Result.FAILED, detail=f"no HTTP answer: {line[:40]!r}"[:MAX_DETAIL])
            if status not in _INTERIM or status in self._expected or status == _SWITCHING_PROTOCOLS:
                return self._judge(status)
            await skip_headers(reader)
        return Outcome(result=Result.FAILED, detail="only interim answers")

    def _judge(self, status: int) -> Outcome:
        passed = status in self._expected if self._expected else status in _SUCCESS
        result = Result.PASSED if passed else Result.FAILED
        return Outcome(result=result, detail="" if passed else f"HTTP status {status}")


async def read_status(reader: asyncio.StreamReader) -> int | None:
    """The status of an answer of which the first line is next; None where it is no HTTP. Raises ConnectionError."""
    return _status(await _read_line(reader))


async def skip_headers(reader: asyncio.StreamReader) -> None:
    """Read to the end of the headers. Raises ConnectionError where there is none within bounds."""
    for _ in range(_MAX_HEADERS):
        if await _read_line(reader) in {b"\r\n", b"\n"}:
            return
    raise ConnectionAbortedError("too many headers")


def _status(line: bytes) -> int | None:
    match = _STATUS_LINE.match(line)
    return None if match is None else int(match.group(1))


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """One line, bounded; raises ConnectionError where there is none."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            return error.partial
        raise ConnectionResetError("closed without an answer") from error
    except asyncio.LimitOverrunError as error:
        raise ConnectionAbortedError("a header line without an end") from error
