"""A group whose directors settle by VRRP who carries the addresses; agents only say what they are."""

from collections.abc import Iterator
from typing import Any

import pytest

from lvs_api.kinds import DIRECTOR_GROUP
from lvs_api.lvs_node import VirtualRouterReport, VirtualRouterState
from lvs_api.network_types import Family
from support.operator_process import OperatorProcess, operator_to_its_end
from support.operator_world import World, world

Json = dict[str, Any]
VRRP = {
    "virtualRouterIds": [55],
    "priorities": [{"node": "d1", "priority": 150}, {"node": "d2", "priority": 100}],
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("vrrp"), policies=True) as made:
        yield made


@pytest.fixture(scope="module")
def operator(scene: World) -> Iterator[OperatorProcess]:
    with operator_to_its_end(scene.directory, scene.operator_kubeconfig, "--count-seconds=1") as process:
        yield process


@pytest.fixture(scope="module")
def web(scene: World, operator: OperatorProcess) -> Json:
    """A service of a group that had no VRRP, and is told to have it."""
    assert operator.alive
    service, _ = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    scene.edit(group(scene), failover="VRRP", vrrp=VRRP)
    return service


def group(scene: World) -> Json:
    (only,) = scene.items(DIRECTOR_GROUP)
    return only


def masters(scene: World) -> list[tuple[int, str | None]]:
    return [(one["id"], one.get("active")) for one in scene.status(group(scene)).get("virtualRouters", ())]


def say(scene: World, **states: VirtualRouterState) -> None:
    """What the directors are from now on."""
    for node, state in states.items():
        since = "2026-01-01T00:00:00Z"
        scene.agents.routers[node] = [VirtualRouterReport(id=55, family=Family.IPV4, state=state, since=since)]


def events(scene: World, reason: str) -> list[str]:
    path = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind=LvsDirectorGroup"
    items = scene.server.request("GET", path).raise_for_status()["items"]
    return [item["message"] for item in items if item["reason"] == reason]


def test_the_active_director_begins_and_the_others_follow(scene: World, web: Json) -> None:
    scene.wait_until(lambda: scene.status(group(scene)).get("vrrpBeginsWith") == "d1", "VRRP to begin with d1")
    assert masters(scene) == [(55, None)]
    assert scene.condition(group(scene), "Ready") == ("Unknown", "Pending")
    say(scene, d1=VirtualRouterState.MASTER)
    scene.wait_until(lambda: masters(scene) == [(55, "d1")], "d1 to be called Master")
    assert "vrrpBeginsWith" not in scene.status(group(scene))
    say(scene, d1=VirtualRouterState.MASTER, d2=VirtualRouterState.BACKUP)
    scene.wait_condition(group(scene), "Ready", "True", "Ready")
    scene.wait_condition(web, "Ready", "True", "Ready")


def test_another_master_is_told_and_counted(scene: World, operator: OperatorProcess, web: Json) -> None:
    say(scene, d1=VirtualRouterState.FAULT, d2=VirtualRouterState.MASTER)
    scene.wait_until(lambda: masters(scene) == [(55, "d2")], "d2 to be called Master")
    scene.wait_condition(web, "Ready", "True", "Ready")
    assert scene.status(group(scene))["active"] == "d2"
    message = "d2 is Master of virtual router 55 instead of d1: before it by priority: d1 is in Fault"
    scene.wait_until(lambda: message in events(scene, "ActiveDirectorChanged"), "the event")
    assert operator.metric("lvs_operator_active_director_changes_total") >= 2
    assert operator.metric("lvs_operator_masters") == 1


def test_that_nobody_is_master_is_a_trouble_though_nothing_more_is_said(scene: World, web: Json) -> None:
    say(scene, d1=VirtualRouterState.FAULT, d2=VirtualRouterState.FAULT)
    scene.wait_condition(group(scene), "Ready", "False", "NoActiveDirector")
    assert masters(scene) == [(55, None)]
    scene.wait_condition(web, "Ready", "Unknown")
    say(scene, d1=VirtualRouterState.MASTER)
    scene.wait_condition(group(scene), "Ready", "True", "Ready")
    scene.wait_condition(web, "Ready", "True", "Ready")
