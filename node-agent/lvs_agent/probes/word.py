"""Asks the agent of a real server what it carries. Whoever answers there is untrusted like the real server itself."""

import asyncio
from typing import Final

from lvs_agent.decide.node_word import MAX_AGE_MILLISECONDS, MAX_WORD, WORD_PATH, NodeWord, decode_word
from lvs_agent.probes.http import MAX_HEAD, read_status, skip_headers

_OK: Final = 200


class NoWord(Exception):  # noqa: N818 (named after the fault, as the agent's errors are)
    """Somebody answered, but not with a word that counts; says why."""


async def ask_agent(address: str, port: int) -> NodeWord:
    """What the agent says now. Raises NoWord, and OSError where the network says no; may be cancelled at any time."""
    host = f"[{address}]" if ":" in address else address
    reader, writer = await asyncio.open_connection(address, port, limit=MAX_HEAD)
    try:
        writer.write(
            f"GET {WORD_PATH} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "User-Agent: lvs-agent\r\nAccept: application/json\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        status = await read_status(reader)
        if status != _OK:
            raise NoWord("no HTTP answer" if status is None else f"HTTP status {status}")
        await skip_headers(reader)
        return _judged(await _read_body(reader))
    finally:
        writer.transport.abort()


async def _read_body(reader: asyncio.StreamReader) -> bytes:
    """All until the other end closes, as it was asked to; more than a word can be is not read."""
    body = bytearray()
    while len(body) <= MAX_WORD and (part := await reader.read(MAX_WORD)):
        body += part
    return bytes(body)


def _judged(body: bytes) -> NodeWord:
    try:
        word = decode_word(body)
    except ValueError as error:
        raise NoWord(str(error)) from error
    if word.age_milliseconds > MAX_AGE_MILLISECONDS:
        raise NoWord(f"it last looked at its kernel over {MAX_AGE_MILLISECONDS // 1000} s ago")
    return word
