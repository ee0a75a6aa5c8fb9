"""Answers GET on small fixed paths: /healthz and /readyz on loopback, /metrics where it is asked for."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest

_MAX_HEAD: Final = 8 * 1024
_SECONDS: Final = 5.0

Page = Callable[[], tuple[bool, bytes]]
"""Whether all is well, and what to show."""


def metrics_page(registry: CollectorRegistry) -> Page:
    """The metrics in Prometheus' text format."""
    return lambda: (True, generate_latest(registry))


def check_page(complaint: Callable[[], str | None]) -> Page:
    """`ok`, or why not."""

    def page() -> tuple[bool, bytes]:
        said = complaint()
        return said is None, f"{said or 'ok'}\n".encode()

    return page


async def serve_pages(host: str, port: int, pages: Mapping[str, Page]) -> asyncio.Server:
    """Serve until closed. Raises OSError where the address can not be had."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, pages))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, host, port, limit=_MAX_HEAD)


def _response(head: bytes, pages: Mapping[str, Page]) -> bytes:
    words = head.split(b"\r\n", 1)[0].split(b" ")
    page = pages.get(words[1].split(b"?")[0].decode("latin-1")) if len(words) > 1 and words[0] == b"GET" else None
    if page is None:
        return _message("404 Not Found", b"not found\n")
    well, body = page()
    return _message("200 OK" if well else "503 Service Unavailable", body)


def _message(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
