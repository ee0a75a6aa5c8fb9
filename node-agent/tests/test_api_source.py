"""What the plan's source makes of objects that it can not read, and of views on disk."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from object_server import ObjectServer, path_of, serving
from waiting_for import until

from lvs_agent.disk.packed_slice import pack
from lvs_agent.disk.view_store import StoredView, ViewStore
from lvs_agent.errors import InvalidSettings
from lvs_agent.objects import api_source
from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.api_source import ApiSource, read_plan_once
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.testing import director_group, lvs_node, service_slice, slice_member
from lvs_core.plan import Holding


def a_source(state: Path, wake: Callable[[], None] = lambda: None) -> ApiSource:
    api = ApiConnection(httpx2.AsyncClient(base_url="http://127.0.0.1:9"))
    return ApiSource(api, node_name="node1", store=ViewStore(state / "view"), metrics=AgentMetrics(), wake=wake)


def a_view(**changes: Any) -> StoredView:
    values = {
        "cluster_id": "c",
        "node_name": "node1",
        "node": lvs_node("node1", directorGroups=["default"]),
        "groups": (director_group(),),
        "slices": (pack(service_slice()),),
    }
    return StoredView(**(values | changes))


async def test_the_last_view_is_a_plan_at_once(tmp_path: Path) -> None:
    ViewStore(tmp_path / "view").write(a_view())
    source = a_source(tmp_path)
    source.load()
    assert source.plan is not None
    assert [member.name for planned in source.plan.services() for member in planned.members] == ["rs1", "rs2"]


def active(node: str | None) -> dict[str, Any]:
    """The director group, with the director that is to carry the addresses."""
    return {**director_group(), "status": {"active": node}}


def holding(source: ApiSource) -> list[Holding]:
    assert source.plan is not None
    return [director.holding for director in source.plan.directing]


def from_the_last_view(state: Path, wake: Callable[[], None] = lambda: None) -> ApiSource:
    """A source that knows only that this node was the one to carry the addresses."""
    ViewStore(state / "view").write(a_view(groups=(active("node1"),)))
    source = a_source(state, wake)
    source.load()
    return source


async def test_by_the_last_view_no_address_is_taken_at_once(tmp_path: Path) -> None:
    source = from_the_last_view(tmp_path)
    assert holding(source) == [Holding.KEEP]
    assert source.plan is not None
    assert len(list(source.plan.services())) == 1
    assert len(source.plan.bind) == 1


async def test_addresses_are_taken_when_the_api_server_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_source, "STORED_VIEW_SECONDS", 0.1)
    woken = asyncio.Event()
    source = from_the_last_view(tmp_path, woken.set)
    woken.clear()
    async with asyncio.timeout(10):
        running = asyncio.create_task(source.run())
        await woken.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert holding(source) == [Holding.HOLD]
    assert source.plan is not None
    assert source.plan.by_stored_view


async def test_while_the_api_server_answers_its_word_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_source, "STORED_VIEW_SECONDS", 0.0)
    source = from_the_last_view(tmp_path)
    source._groups.complete = True
    trusting = asyncio.create_task(source._trust_stored_view())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not trusting.done()
    assert holding(source) == [Holding.KEEP]
    trusting.cancel()


@pytest.mark.parametrize(("named", "expected"), [("node1", Holding.HOLD), ("node2", Holding.RELEASE)])
async def test_what_the_api_server_says_counts_at_once(tmp_path: Path, named: str, expected: Holding) -> None:
    wakes: list[int] = []
    source = from_the_last_view(tmp_path, lambda: wakes.append(1))
    wakes.clear()
    source._node._objects, source._node.complete = {"n": lvs_node("node1", directorGroups=["default"])}, True
    source._groups._objects, source._groups.complete = {"g": active(named)}, True
    source._take("c")
    assert holding(source) == [expected]
    assert source.plan is not None
    assert not source.plan.by_stored_view
    assert wakes


@pytest.mark.parametrize(
    "damaged",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("1 0\n{}\n"),
        lambda path: ViewStore(path).write(a_view(node_name="other")),
    ],
)
async def test_without_a_good_view_there_is_no_plan(tmp_path: Path, damaged: Any) -> None:
    ViewStore(tmp_path / "view").write(a_view())
    damaged(tmp_path / "view")
    source = a_source(tmp_path)
    source.load()
    assert source.plan is None


async def test_an_object_that_can_not_be_read_leaves_the_plan(tmp_path: Path) -> None:
    server = ObjectServer()
    server.put(lvs_node("node1", directorGroups=["default"]), director_group(), service_slice())
    async with serving(server) as api:
        source = ApiSource(
            api, node_name="node1", store=ViewStore(tmp_path / "view"), metrics=AgentMetrics(), wake=lambda: None
        )
        task = asyncio.create_task(source.run())
        await until(lambda: source.plan is not None)
        plan = source.plan
        newer = service_slice(directorGroup=5)
        newer["metadata"]["generation"] = 2
        server.put(newer)
        await until(lambda: source.withheld.unreadable is not None)
        assert source.plan is plan
        server.put(service_slice())
        await until(lambda: source.withheld.unreadable is None)
        server.put(lvs_node("node1", addresses=5))
        await until(lambda: source.withheld.unreadable is not None)
        assert source.plan is plan
        assert source.reported_status() is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_same_generation_of_a_restored_slice_is_read_anew(tmp_path: Path) -> None:
    """An etcd that was restored gives a generation, and a version, to another content."""
    server = ObjectServer()
    server.put(lvs_node("node1", directorGroups=["default"]), director_group(), service_slice())
    async with serving(server) as api:
        source = ApiSource(
            api, node_name="node1", store=ViewStore(tmp_path / "view"), metrics=AgentMetrics(), wake=lambda: None
        )
        task = asyncio.create_task(source.run())

        def weights() -> list[int]:
            return [m.weight for planned in source.plan.services() for m in planned.members] if source.plan else []

        await until(lambda: weights() == [1, 1])
        server.objects[path_of(service_slice())] = service_slice(
            members=[slice_member("rs1", "192.168.4.100", weight=9)]
        )
        server.end_watches()
        await until(lambda: weights() == [9])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_stored_view_that_can_not_be_read_is_none(tmp_path: Path) -> None:
    ViewStore(tmp_path / "view").write(a_view(node=lvs_node("node1", addresses=5)))
    source = a_source(tmp_path)
    source.load()
    assert source.plan is None


class Broken(ApiConnection):
    """Fails in a way that nobody thought of."""

    def __init__(self) -> None:
        super().__init__(httpx2.AsyncClient())

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        raise RuntimeError(path, params)


async def test_a_copy_that_is_kept_no_longer_ends_the_source(tmp_path: Path) -> None:
    source = ApiSource(
        Broken(), node_name="node1", store=ViewStore(tmp_path / "view"), metrics=AgentMetrics(), wake=lambda: None
    )
    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup):
            await source.run()


async def test_a_plan_of_a_node_that_is_not_there_is_refused_by_name() -> None:
    """One that is there and has no part has nothing to do; a name that is mistyped is told."""
    server = ObjectServer()
    server.objects["/api/v1/nodes"] = {"items": [{"metadata": {"name": "node1"}}]}
    async with serving(server) as api:
        plan = await read_plan_once(api, "node1")
        assert (plan.node, plan.directing, plan.bind) == ("node1", (), ())
        with pytest.raises(InvalidSettings, match=r"^--node-name nodel \(.*: there is no such Node$"):
            await read_plan_once(api, "nodel")
        server.put(lvs_node("nodel"))
        assert (await read_plan_once(api, "nodel")).node == "nodel"
