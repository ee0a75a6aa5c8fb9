"""A small API server: objects by path, lists and watches of them, and answers that it is told to give instead."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from lvs_agent.objects.api_connection import ApiConnection
from lvs_api.api_group import API_VERSION, GROUP
from lvs_api.kinds import ALL_KINDS
from lvs_api.testing import CREATED

Raw = dict[str, Any]
API = f"/apis/{API_VERSION}"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLUSTER = "/api/v1/namespaces/kube-system"
PLURALS = {kind.name: kind.plural for kind in ALL_KINDS}
KINDS = {kind.plural: kind.name for kind in ALL_KINDS}


def path_of(raw: Raw) -> str:
    """Where an object of ours is."""
    metadata, plural = raw["metadata"], PLURALS[raw["kind"]]
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{API}{scope}/{plural}/{metadata['name']}"


def crd(plural: str, **metadata: object) -> Raw:
    """A CustomResourceDefinition that is established."""
    return {
        "metadata": {"name": f"{plural}.{GROUP}", "uid": f"crd-{plural}", "creationTimestamp": CREATED, **metadata},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }


@dataclass
class ObjectServer:
    """What is there, and what is said instead of it."""

    objects: dict[str, Raw] = field(default_factory=dict)
    instead: dict[str, Callable[[str], tuple[int, str] | None]] = field(default_factory=dict)
    """By a part of the path: from the true answer to status and text; None for the true answer."""
    asked: list[str] = field(default_factory=list)
    watches: dict[asyncio.Queue[str | None], str] = field(default_factory=dict)
    """Each with the plural that it is of."""
    version: int = 1

    def __post_init__(self) -> None:
        self.objects[CLUSTER] = {"metadata": {"name": "kube-system", "uid": "cluster-1"}}
        for plural in KINDS:
            self.objects[f"{CRDS}/{plural}.{GROUP}"] = crd(plural)

    def put(self, *raws: Raw) -> None:
        """Make or change objects, and tell the watches."""
        for raw in raws:
            what = "MODIFIED" if path_of(raw) in self.objects else "ADDED"
            self.objects[path_of(raw)] = raw
            self._tell(what, raw)

    def remove(self, *raws: Raw) -> None:
        """Delete objects, and tell the watches."""
        for raw in raws:
            del self.objects[path_of(raw)]
            self._tell("DELETED", raw)

    def end_watches(self) -> None:
        """Every copy is listed anew."""
        for queue in self.watches:
            queue.put_nowait(None)

    def refuse(self, part: str, status: int) -> None:
        """Answer with an error wherever the path contains this."""
        body = json.dumps({"kind": "Status", "code": status, "message": f"no {part}"})
        self.instead[part] = lambda _: (status, body)

    def _tell(self, what: str, raw: Raw) -> None:
        self.version += 1
        told = {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(self.version)}}
        for queue, plural in self.watches.items():
            if plural == PLURALS[raw["kind"]]:
                queue.put_nowait(json.dumps({"type": what, "object": told}) + "\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on each connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            url = urlsplit(head.split(" ")[1])
            self.asked.append(url.path)
            status, text = self._answer(url.path)
            watched = status == 200 and "watch" in parse_qs(url.query)
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode()
            )
            if watched:
                await self._watch(url.path.rpartition("/")[2], writer)
            else:
                _chunk(writer, text)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.asked.append("(client went)")
        finally:
            writer.close()

    async def _watch(self, plural: str, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.watches[queue] = plural
        try:
            await writer.drain()
            while (line := await queue.get()) is not None:
                _chunk(writer, line)
                await writer.drain()
        finally:
            del self.watches[queue]

    def _answer(self, path: str) -> tuple[int, str]:
        status, text = self._truth(path)
        for part, say in self.instead.items():
            if part in path and (said := say(text)) is not None:
                return said
        return status, text

    def _truth(self, path: str) -> tuple[int, str]:
        if path in self.objects:
            return 200, json.dumps(self.objects[path])
        plural = path.rpartition("/")[2]
        if plural not in KINDS:
            return 404, json.dumps({"kind": "Status", "code": 404, "message": f"{path} not found"})
        items = [raw for found, raw in self.objects.items() if found.startswith(API) and f"/{plural}/" in found]
        metadata = {"resourceVersion": str(self.version)}
        body = {"apiVersion": API_VERSION, "kind": f"{KINDS[plural]}List", "metadata": metadata, "items": items}
        return 200, json.dumps(body)


def _chunk(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())


@asynccontextmanager
async def serving(server: ObjectServer) -> AsyncIterator[ApiConnection]:
    """A connection to it."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    api = ApiConnection(client)
    try:
        yield api
    finally:
        server.end_watches()
        await api.close()
        listening.close()
        await listening.wait_closed()
