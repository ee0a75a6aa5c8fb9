"""Answers GET on small fixed paths: health on loopback, metrics and this node's word where they are asked for.

Strangers may reach it: what they send, how long they take and how many they are is bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from lvs_agent.decide.node_word import NodeWord, encode_word

_MAX_HEAD: Final = 8 * 1024
_HEAD_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
"""A large table has megabytes, and its reader may sit behind a slow line."""
_MAX_CONNECTIONS: Final = 64
"""Of one server at once; more are closed unheard."""
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
JSON: Final = "application/json"


class Shown(NamedTuple):
    """A page at this moment."""

    well: bool
    """Whether all is well: else the status is 503."""
    body: bytes
    content_type: str = TEXT


Page = Callable[[], Awaitable[Shown]]


def background_page(make: Callable[[], Shown]) -> Page:
    """A page that takes time: made in a thread, one at a time; who asks while it is being made gets the same."""
    running: asyncio.Task[Shown] | None = None

    async def page() -> Shown:
        nonlocal running
        if running is None or running.done():
            running = asyncio.create_task(asyncio.to_thread(make))
        return await asyncio.shield(running)  # one that gives up leaves it to the others

    return page


def check_page(complaint: Callable[[], str | None]) -> Page:
    """`ok`, or why not."""

    async def page() -> Shown:
        said = complaint()
        return Shown(well=said is None, body=f"{said or 'ok'}\n".encode())

    return page


def word_page(word: Callable[[], NodeWord | None]) -> Page:
    """What this node carries, as JSON, once that is known."""

    async def page() -> Shown:
        said = word()
        if said is None:
            return Shown(well=False, body=b"this node has not been looked at yet\n")
        return Shown(well=True, body=encode_word(said), content_type=JSON)

    return page


async def serve_pages(host: str, port: int, pages: Mapping[str, Page]) -> asyncio.Server:
    """Serve until closed; an empty host is every address. Raises OSError where the address can not be had."""
    open_now = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            if open_now <= _MAX_CONNECTIONS:
                await answer_one(reader, writer)
        finally:
            open_now -= 1
            writer.close()

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(await _response(head, pages))
                await writer.drain()

    return await asyncio.start_server(answer, host, port, limit=_MAX_HEAD)


async def _response(head: bytes, pages: Mapping[str, Page]) -> bytes:
    words = head.split(b"\r\n", 1)[0].split(b" ")
    page = pages.get(words[1].split(b"?")[0].decode("latin-1")) if len(words) > 1 and words[0] == b"GET" else None
    if page is None:
        return _message("404 Not Found", b"not found\n")
    shown = await page()
    return _message("200 OK" if shown.well else "503 Service Unavailable", shown.body, shown.content_type)


def _message(status: str, body: bytes, content_type: str = TEXT) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
