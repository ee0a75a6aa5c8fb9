"""The reflector against a server that answers as an API server does, also when it is in trouble."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from waiting_for import until

from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.watch import Reflector, Selection, as_it_is

PATH = "/apis/lvs-operator.io/v1alpha1/lvsnodes"


def item(name: str, version: str, **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version}, "spec": spec}


def listed(*items: dict[str, Any], version: str, following: str | None = None) -> tuple[int, list[str]]:
    metadata = {"resourceVersion": version} | ({"continue": following} if following else {})
    body = {"apiVersion": "lvs-operator.io/v1alpha1", "kind": "LvsNodeList", "metadata": metadata, "items": list(items)}
    return 200, [json.dumps(body)]


def event(what: str, content: dict[str, Any]) -> str:
    return json.dumps({"type": what, "object": content}) + "\n"


def watched(*lines: str, hold: bool = True) -> tuple[int, list[str | None]]:
    """A watch that sends these lines, and then ends or stays open."""
    return 200, [*lines, *([None] if hold else [])]


def refused(code: int) -> tuple[int, list[str]]:
    return code, [json.dumps({"kind": "Status", "code": code, "message": "no"})]


@dataclass
class ScriptedServer:
    """Answers one request after the other from a script; the last watch stays open."""

    script: deque[tuple[int, list[Any]]]
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(("(client went)", {}))
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        url = urlsplit(head.split(" ")[1])
        self.asked.append((url.path, {key: values[0] for key, values in parse_qs(url.query).items()}))
        status, lines = self.script.popleft() if self.script else refused(503)
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for line in lines:
            if line is None:
                await writer.drain()
                await self.released.wait()
            else:
                writer.write(f"{len(line.encode()):x}\r\n{line}\r\n".encode())
        writer.write(b"0\r\n\r\n")
        await writer.drain()


@asynccontextmanager
async def reflecting(
    *script: tuple[int, list[Any]],
    silence: float = 60,
    watch: int = 290,
    selection: Selection | None = None,
    connected: Callable[[], None] = lambda: None,
    wake: Callable[[], None] = lambda: None,
    keep: Callable[[dict[str, Any]], dict[str, Any]] = as_it_is,
) -> AsyncIterator[tuple[Reflector[dict[str, Any]], ScriptedServer]]:
    server = ScriptedServer(deque(script))
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    api = ApiConnection(client)
    reflector = Reflector(
        api,
        selection or Selection(path=PATH, kind="LvsNode"),
        wake,
        keep=keep,
        connected=connected,
        silence_seconds=silence,
        watch_seconds=watch,
    )
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector, server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.released.set()
        await api.close()
        listening.close()
        await listening.wait_closed()


def names(reflector: Reflector[dict[str, Any]]) -> set[str]:
    return {raw["metadata"]["name"] for raw in reflector.objects().values()}


async def test_a_list_of_several_pages_counts_when_it_is_whole() -> None:
    pages = [listed(item("a", "1"), version="5", following="more"), listed(item("b", "2"), version="5"), watched()]
    selection = Selection(path=PATH, kind="LvsNode", label_selector="x=y", field_selector="metadata.name=n")
    async with reflecting(*pages, selection=selection) as (reflector, server):
        assert not reflector.complete
        await until(lambda: reflector.complete)
        assert names(reflector) == {"a", "b"}
        await until(lambda: len(server.asked) == 3)
        assert server.asked[1][1]["continue"] == "more"
        assert server.asked[0][1]["labelSelector"] == "x=y"
        assert server.asked[2][1] | {"timeoutSeconds": ""} == {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": "5",
            "timeoutSeconds": "",
            "labelSelector": "x=y",
            "fieldSelector": "metadata.name=n",
        }
        assert next(iter(reflector.objects().values()))["kind"] == "LvsNode"


async def test_events_change_the_copy() -> None:
    lines = [
        event("ADDED", item("b", "6")),
        event("MODIFIED", item("a", "7", changed=True)),
        event("DELETED", item("b", "8")),
        event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
    ]
    script = [listed(item("a", "1"), version="5"), watched(*lines, hold=False), watched()]
    async with reflecting(*script, watch=1) as (r, server):
        await until(lambda: len(server.asked) == 3)
        assert names(r) == {"a"}
        assert r.objects()["uid-a"]["spec"] == {"changed": True}
        assert server.asked[2][1]["resourceVersion"] == "9"


async def test_a_watch_that_ends_early_is_followed_by_a_list() -> None:
    """It may have been one of an older CRD, which drops fields."""
    pruned, whole = event("MODIFIED", item("a", "7")), item("a", "7", added="later")
    script = [
        listed(item("a", "1"), version="5"),
        watched(pruned, hold=False),
        listed(whole, version="7"),
        watched(),
    ]
    async with reflecting(*script) as (reflector, server):
        await until(lambda: len(server.asked) == 4)
        assert reflector.objects()["uid-a"]["spec"] == {"added": "later"}


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
async def test_no_error_is_an_empty_list(code: int) -> None:
    async with reflecting(refused(code), listed(item("a", "1"), version="5"), watched()) as (reflector, _):
        await until(lambda: reflector.failure is not None)
        assert not reflector.complete
        await until(lambda: reflector.complete)
        assert (names(reflector), reflector.failure) == ({"a"}, None)


def mutilated(**changes: object) -> tuple[int, list[str]]:
    """The second page of a list, with parts replaced, or taken away where None."""
    metadata = {"resourceVersion": "5"}
    whole = {"apiVersion": "lvs-operator.io/v1alpha1", "kind": "LvsNodeList", "metadata": metadata, "items": []}
    return 200, [json.dumps({key: value for key, value in (whole | changes).items() if value is not None})]


CUT_SHORT = {
    "error": refused(500),
    "expired": refused(410),
    "no JSON": (200, ["not JSON"]),
    "JSON cut": (200, [mutilated()[1][0][:-20]]),
    "nothing": (200, []),
    "no items": mutilated(items=None),
    "null items": (200, [mutilated()[1][0].replace("[]", "null")]),
    "no metadata": mutilated(metadata=None),
    "another kind": mutilated(kind="LvsServiceSliceList"),
    "a status": (200, [json.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})]),
    "an end before the end": mutilated(metadata={"resourceVersion": "5", "remainingItemCount": 3}),
    "an item that is none": mutilated(items=[{"metadata": {"name": "without a uid"}}]),
}


@pytest.mark.parametrize("second_page", CUT_SHORT.values(), ids=CUT_SHORT)
async def test_half_a_list_changes_nothing(second_page: tuple[int, list[str]]) -> None:
    first = listed(item("a", "1"), version="5", following="more")
    whole = listed(item("a", "1"), item("b", "2"), version="6")
    async with reflecting(first, second_page, whole, watched()) as (reflector, _):
        await until(lambda: reflector.failure is not None)
        assert (reflector.complete, names(reflector)) == (False, set())
        await until(lambda: reflector.complete)
        assert names(reflector) == {"a", "b"}


@pytest.mark.parametrize("cut", CUT_SHORT.values(), ids=CUT_SHORT)
async def test_a_list_cut_short_takes_nothing_away(cut: tuple[int, list[str]]) -> None:
    """The copy stays as it was until a whole list has been read."""
    script = [
        listed(item("a", "1"), version="5"),
        watched(hold=False),
        cut,
        listed(item("b", "6"), version="6"),
        watched(),
    ]
    async with reflecting(*script) as (reflector, server):
        await until(lambda: reflector.failure is not None)
        assert (reflector.complete, names(reflector), len(server.asked)) == (True, {"a"}, 3)
        await until(lambda: names(reflector) == {"b"})


async def test_every_connection_is_told() -> None:
    told: list[int] = []
    script = [listed(item("a", "1"), version="5"), watched(hold=False), refused(500), listed(version="6"), watched()]
    async with reflecting(*script, connected=lambda: told.append(1)) as (_, server):
        await until(lambda: len(server.asked) == 5 and len(told) == 4)


async def test_what_vanished_meanwhile_is_found_after_410() -> None:
    gone = event("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
    script = [
        listed(item("a", "1"), item("b", "2"), version="5"),
        watched(gone, hold=False),
        listed(item("b", "2"), version="9"),
        watched(),
    ]
    async with reflecting(*script) as (reflector, _):
        await until(lambda: names(reflector) == {"a", "b"})
        await until(lambda: names(reflector) == {"b"})


BROKEN = {
    "refused": refused(500),
    "garbage": watched("garbage\n", hold=False),
    "an error": watched(event("ERROR", {"kind": "Status", "code": 500, "message": "no"}), hold=False),
    "a bookmark of the past": watched(event("BOOKMARK", {"metadata": {"resourceVersion": "4"}})),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_after_a_broken_watch_the_copy_is_listed_anew(broken: tuple[int, list[Any]]) -> None:
    """Its version may be one of the future now: so it is in an etcd that was restored to an older state."""
    script = [
        listed(item("a", "5"), item("b", "2"), version="5"),
        broken,
        listed(item("a", "3", weight=3), version="3"),
        watched(event("MODIFIED", item("a", "4", weight=4))),
    ]
    async with reflecting(*script, watch=1) as (reflector, server):
        await until(lambda: reflector.failure is not None)
        assert (reflector.complete, names(reflector)) == (True, {"a", "b"})
        await until(lambda: reflector.objects()["uid-a"]["spec"] == {"weight": 4})
        assert (names(reflector), reflector.failure) == ({"a"}, None)
        assert [query.get("watch") for _, query in server.asked] == [None, "true", None, "true"]
        assert server.asked[3][1]["resourceVersion"] == "3"


async def test_a_silent_watch_is_given_up() -> None:
    script = [
        listed(item("a", "1"), version="5"),
        watched(),
        listed(item("a", "1"), version="5"),
        watched(event("ADDED", item("b", "6"))),
    ]
    async with reflecting(*script, silence=0.2) as (reflector, _):
        await until(lambda: names(reflector) == {"a", "b"})


async def test_what_is_kept_the_same_is_no_news() -> None:
    def without_version(raw: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": {"name": raw["metadata"]["name"]}, "spec": raw["spec"]}

    woken: list[None] = []
    lines = [event("MODIFIED", item("a", "6")), event("ADDED", item("b", "7"))]
    script = [listed(item("a", "1"), version="5"), watched(*lines)]
    async with reflecting(*script, wake=lambda: woken.append(None), keep=without_version) as (reflector, _):
        await until(lambda: names(reflector) == {"a", "b"})
        assert len(woken) == 2  # the list, and what was added


async def test_a_server_that_is_not_there() -> None:
    client = httpx2.AsyncClient(base_url="http://127.0.0.1:9")
    reflector = Reflector(ApiConnection(client), Selection(path=PATH, kind="LvsNode"), lambda: None, keep=as_it_is)
    task = asyncio.create_task(reflector.run())
    await until(lambda: reflector.failure is not None)
    assert not reflector.complete
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()
