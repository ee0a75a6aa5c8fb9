"""A reverse proxy between a client and the API server that can fail in every way an API server fails.

It speaks plain HTTP on a loopback port and hands requests on over TLS, so it can answer in the server's place. Streams
(watches) are passed on as they come. A fault hits new requests and streams that are open already.
"""

import asyncio
import gc
import json
import ssl
import threading
import warnings
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from aiohttp import ClientResponse, ClientSession, ClientTimeout, StreamReader, TCPConnector, web
from aiohttp.client_exceptions import ClientError

from support.api_server import ApiServer

HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"}
WRITING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
START_SECONDS: Final = 10
SECONDS_TO_RETRY: Final = "1"


class Fault(Enum):
    """How the API server fails; the value is the HTTP status, where there is one."""

    NONE = 0
    REFUSED = 1
    SILENT = 2
    CUT_SHORT = 3
    """Lists end in the middle of a word."""
    HALF = 4
    """Lists lack half of their objects, and nothing in them says so."""
    FORBIDDEN = 403
    TOO_MANY_REQUESTS = 429
    INTERNAL_ERROR = 500
    UNAVAILABLE = 503


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One request that the proxy saw."""

    method: str
    path: str
    status: int
    """What the client got; 0: nothing."""


MUTILATING: Final = (Fault.CUT_SHORT, Fault.HALF)


class FaultProxy:
    """Runs in a thread of its own; `fault` may be set from any thread at any time."""

    def __init__(self, server: ApiServer) -> None:
        self._target = server.url
        self._tls = ssl.create_default_context(cafile=str(server.ca_file))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fault-proxy", daemon=True)
        self._started = threading.Event()
        self._fault = Fault.NONE
        self._only = ""
        self._open: set[asyncio.Task[None]] = set()
        self._site: web.TCPSite | None = None
        self.seen: list[Seen] = []
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_SECONDS)
        with warnings.catch_warnings():
            # What is cut in the middle of its TLS handshake is left to the garbage collector by aiohttp and httpcore:
            # here and now, lest another test is blamed for it.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def failing(self, fault: Fault, only: str = "") -> Iterator[None]:
        """Fail for as long as the context lasts; with `only`, where the path contains that."""
        self._only = only
        self._do(self._set(fault))
        try:
            yield
        finally:
            self._do(self._set(Fault.NONE))
            self._only = ""

    def writes(self, since: int = 0) -> Mapping[str, int]:
        """Writing requests seen from a position in `seen` on, by method and kind of object."""
        return Counter(f"{one.method} {_plural(one.path)}" for one in self.seen[since:] if one.method in WRITING)

    def _do(self, coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(START_SECONDS)

    async def _serve(self) -> None:
        self._loop, self._end, self._changed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        connector = TCPConnector(ssl=self._tls, limit=0)
        timeout = ClientTimeout(total=None)
        async with ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=16 * 1024**2)
            app.router.add_route("*", "/{path:.*}", self._handle)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await self._runner.setup()
            await self._listen()
            self._started.set()
            await self._end.wait()
            await self._set(Fault.NONE)
            for task in self._open:
                task.cancel()
            await self._runner.cleanup()
            await connector.close(abort_ssl=True)

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = int(self._runner.addresses[0][1])

    async def _set(self, fault: Fault) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()
        if fault is Fault.REFUSED and self._site is not None:
            await self._site.stop()
            self._site = None
        elif self._site is None:
            await self._listen()
        if fault not in (Fault.NONE, Fault.SILENT):
            for task in self._open:
                task.cancel()  # streams that are open end at once

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        await self._hold_silence(request.path)
        fault = self._fault if self._only in request.path else Fault.NONE
        if fault is Fault.REFUSED and request.transport is not None:
            request.transport.abort()  # a connection that was kept from before
            return web.Response()
        if fault not in (Fault.NONE, Fault.SILENT, *MUTILATING):
            self.seen.append(Seen(method=request.method, path=request.path, status=fault.value))
            return _failure(fault)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        if fault in MUTILATING:
            headers["Accept-Encoding"] = "identity"
        try:
            async with self._session.request(
                request.method, f"{self._target}{request.rel_url}", headers=headers, data=body or None
            ) as upstream:
                self.seen.append(Seen(method=request.method, path=request.path, status=upstream.status))
                kept = {name: value for name, value in upstream.headers.items() if name.lower() not in HOP_BY_HOP}
                if fault in MUTILATING and request.method == "GET" and "watch" not in request.query:
                    return _mutilated(fault, await upstream.read())
                encoding = upstream.headers.get("Content-Encoding")
                response = web.StreamResponse(
                    status=upstream.status, headers=kept | ({"Content-Encoding": encoding} if encoding else {})
                )
                await response.prepare(request)
                try:
                    await self._pump(request.path, upstream.content, response)
                finally:
                    _abort_unfinished(upstream)
                return response
        except ClientError:
            self.seen.append(Seen(method=request.method, path=request.path, status=0))
            return _failure(Fault.UNAVAILABLE)

    async def _pump(self, path: str, content: StreamReader, response: web.StreamResponse) -> None:
        """Pass a body on, until it ends or a fault ends it."""

        async def copy() -> None:
            async for chunk in content.iter_any():
                await self._hold_silence(path)
                await response.write(chunk)
            await response.write_eof()

        task = asyncio.ensure_future(copy())
        self._open.add(task)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            self._open.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, ConnectionError | ClientError):
            raise error

    async def _hold_silence(self, path: str) -> None:
        while self._fault is Fault.SILENT and self._only in path:
            await self._changed.wait()


def _abort_unfinished(upstream: ClientResponse) -> None:
    """Close a stream for good: an orderly end of TLS would wait for the other side."""
    connection = upstream.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _mutilated(fault: Fault, body: bytes) -> web.Response:
    if fault is Fault.CUT_SHORT:
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    whole = json.loads(body)
    whole["items"] = whole["items"][: len(whole["items"]) // 2]
    return web.json_response(whole)


def _failure(fault: Fault) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": f"the fault proxy says {fault.name}",
        "reason": fault.name,
        "code": fault.value,
    }
    headers = {"Retry-After": SECONDS_TO_RETRY} if fault is Fault.TOO_MANY_REQUESTS else {}
    return web.json_response(status, status=fault.value, headers=headers)


def _plural(path: str) -> str:
    """The kind of object that a path is about, with `/status` for that subresource."""
    parts = [part for part in path.split("/") if part]
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if len(parts) > 1 and parts[0] == "namespaces" and len(parts) != 2:
        parts = parts[2:]
    return f"{parts[0]}/{parts[2]}" if len(parts) > 2 else parts[0]
