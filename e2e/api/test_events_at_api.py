"""Events really appear at an API server, where kubectl shows them, and the same again counts up one."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.event_poster import EventPoster
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import LvsNodeStatus, NodeAddressState, NodeAddressStatus, ServiceException
from lvs_api.testing import director_group, lvs_node, virtual_service
from lvs_lab.waiting import wait_for
from support.api_server import ApiServer
from support.operator_process import OperatorProcess, operator_to_its_end
from support.operator_world import World, world

Json = dict[str, Any]
VIP = "192.168.4.15"


def events(server: ApiServer, kind: str, name: str, namespace: str = "default") -> dict[str, Json]:
    """The events of an object, by reason; each reason at most once."""
    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    path = f"/api/v1/namespaces/{namespace}/events?fieldSelector={selector}"
    items = server.request("GET", path).raise_for_status()["items"]
    assert len({item["reason"] for item in items}) == len(items), [(item["reason"], item["message"]) for item in items]
    return {item["reason"]: item for item in items}


def described(server: ApiServer, *arguments: str) -> str:
    """The end of what `kubectl describe` prints."""
    done = server.kubectl("describe", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nEvents:")[2]


# --- the operator ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("events")) as made:
        yield made


@pytest.fixture(scope="module")
def operator(scene: World) -> Iterator[OperatorProcess]:
    with operator_to_its_end(scene.directory, scene.server.kubeconfig, "--count-seconds=1") as process:
        yield process


@pytest.fixture(scope="module")
def web(scene: World, operator: OperatorProcess) -> Json:
    assert operator.alive
    service, _ = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    return service


def refused_by_the_kernel() -> ServiceException:
    return ServiceException(namespace="default", name="web", reason="KernelRefused", message="EINVAL", programmed=False)


def test_a_services_life_is_told_on_it(scene: World, operator: OperatorProcess, web: Json) -> None:
    wanted = {"Accepted", "ResolvedRefs", "Programmed", "Ready"}
    wait_for(
        lambda: events(scene.server, "LvsVirtualService", "web").keys() >= wanted, 30, "the events of a new service"
    )
    found = events(scene.server, "LvsVirtualService", "web")
    assert {found[reason]["type"] for reason in wanted} == {"Normal"}
    assert {found[reason]["involvedObject"]["uid"] for reason in wanted} == {web["metadata"]["uid"]}

    readied = found["Ready"]["count"]
    for times in (1, 2, 3):
        scene.agents.exceptions["d1"] = [refused_by_the_kernel()]
        scene.wait_condition(web, "Ready", "False", "KernelRefused")
        scene.agents.exceptions.clear()
        scene.wait_condition(web, "Ready", "True", "Ready")

        def told(times: int = times) -> bool:
            now = events(scene.server, "LvsVirtualService", "web")
            return (now["KernelRefused"]["count"], now["Ready"]["count"]) == (times, readied + times)

        wait_for(told, 30, f"events to be counted {times} times")
    now = events(scene.server, "LvsVirtualService", "web")
    assert (now["KernelRefused"]["type"], "EINVAL" in now["KernelRefused"]["message"]) == ("Warning", True)
    assert now["KernelRefused"]["lastTimestamp"] >= now["KernelRefused"]["firstTimestamp"]
    text = described(scene.server, "lvsvirtualservice", "web")
    assert "KernelRefused" in text
    assert "(x3 over" in text
    assert operator.metric("lvs_operator_services") == 1
    assert operator.metric("lvs_operator_events_total") >= 10


@pytest.mark.usefixtures("web")
def test_conflicts_pools_and_groups(scene: World) -> None:
    scene.server.create(virtual_service("late", realServerPoolRef={"name": "web"})).raise_for_status()
    wait_for(lambda: "Conflict" in events(scene.server, "LvsVirtualService", "late"), 30, "the event of a conflict")
    assert {"Accepted", "Ready"} <= events(scene.server, "LvsRealServerPool", "web").keys()
    group = events(scene.server, "LvsDirectorGroup", "default")
    assert group["ActiveDirectorChanged"]["message"] == "d1 is the active director"
    taint = {"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}}
    path = "/api/v1/nodes/d1"
    scene.server.request("PATCH", path, taint, content_type="application/merge-patch+json").raise_for_status()

    def moved() -> bool:
        said = events(scene.server, "LvsDirectorGroup", "default")["ActiveDirectorChanged"]
        return bool(
            said["count"] == 2 and said["message"].startswith("d2 is the active director instead of d1: Node d1")
        )

    wait_for(moved, 30, "the event that another director is active")
    assert "ActiveDirectorChanged" in described(scene.server, "lvsdirectorgroup", "default")


# --- the agent ---------------------------------------------------------------------------------------------------


@pytest.fixture
def node(api_server: ApiServer) -> Iterator[Json]:
    made = [
        api_server.create(director_group("events")).raise_for_status(),
        api_server.create(lvs_node("n1", directorGroups=["events"])).raise_for_status(),
    ]
    yield made[1]
    for raw in made:
        api_server.delete(raw)


def bound(state: NodeAddressState, message: str | None = None) -> LvsNodeStatus:
    one = NodeAddressStatus(address=VIP, device=BindDevice.LO, state=state, message=message)
    return LvsNodeStatus(addresses=[one])


async def until(condition: Any) -> None:  # noqa: ANN401 (a condition on another process)
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 (another process' state)
            await asyncio.sleep(0.1)


async def test_an_agents_events_are_on_its_node_and_count_up(api_server: ApiServer, node: Json) -> None:
    api = ApiConnection.open(api_server.kubeconfig)
    poster = EventPoster(api, node_name="n1", observed=lambda: node, metrics=AgentMetrics())
    task = asyncio.create_task(poster.run())
    try:
        poster.tell(bound(NodeAddressState.BOUND))
        await until(lambda: "AddressBound" in events(api_server, "LvsNode", "n1"))
        for times in (1, 2):
            poster.tell(bound(NodeAddressState.CONFLICT, "02:00:00:00:00:01 answers for it"))
            poster.tell(bound(NodeAddressState.BOUND))

            def counted(times: int = times) -> bool:
                found = events(api_server, "LvsNode", "n1")
                conflict, again = found.get("AddressConflict"), found["AddressBound"]
                return conflict is not None and (conflict["count"], again["count"]) == (times, times + 1)

            await until(counted)
        text = await asyncio.to_thread(described, api_server, "lvsnode", "n1")
        assert "AddressConflict" in text
        assert "02:00:00:00:00:01" in text
        gone = events(api_server, "LvsNode", "n1")["AddressConflict"]["metadata"]["name"]
        api_server.request("DELETE", f"/api/v1/namespaces/default/events/{gone}").raise_for_status()
        poster.tell(bound(NodeAddressState.CONFLICT, "once more"))
        await until(lambda: events(api_server, "LvsNode", "n1").get("AddressConflict", {}).get("count") == 1)
    finally:
        task.cancel()
        await api.close()
