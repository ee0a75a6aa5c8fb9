"""What a user sees: services accepted, refused, in conflict, waiting for what is missing; prepared, edited, deleted."""

from collections.abc import Iterator
from typing import Any

import pytest

from lvs_api.kinds import NODE, SERVICE_SLICE
from lvs_api.testing import director_group, real_server, real_server_pool, virtual_service
from support.operator_process import OperatorProcess, operator_to_its_end
from support.operator_world import DIRECTORS, SERVERS, USER_KINDS, World, world

Json = dict[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("flows"), policies=True) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def operator(scene: World) -> Iterator[OperatorProcess]:
    with operator_to_its_end(
        scene.directory, scene.operator_kubeconfig, "--check-seconds=5", "--count-seconds=1"
    ) as process:
        yield process


@pytest.fixture(autouse=True)
def tidy(scene: World) -> Iterator[None]:
    yield
    scene.agents.exceptions.clear()
    scene.agents.silent.clear()
    for kind in USER_KINDS[:2]:
        for item in scene.items(kind):
            scene.server.delete(item).raise_for_status()
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")
    scene.wait_until(lambda: not bound(scene), "the addresses to leave the nodes")


def bound(scene: World) -> dict[str, list[str]]:
    """By node, the addresses that it is told to bind."""
    return {
        item["metadata"]["name"]: [address["address"] for address in item["spec"]["addresses"]]
        for item in scene.items(NODE)
        if item["spec"].get("addresses")
    }


def members(scene: World, service: str = "web") -> dict[str, Json]:
    return {
        member["name"]: member
        for item in scene.items(SERVICE_SLICE)
        if item["spec"]["serviceRef"]["name"] == service
        for member in item["spec"].get("members") or ()
    }


def test_a_service_becomes_ready_by_way_of_both_hand_shakes(scene: World) -> None:
    scene.agents.silent = set(SERVERS)
    service, _ = scene.create_web()
    scene.wait_condition(service, "Accepted", "True")
    scene.wait_until(lambda: bound(scene) == {key: ["192.168.4.15"] for key in SERVERS}, "the nodes to be told")
    assert {name: member["prepared"] for name, member in members(scene).items()} == {"rs1": False, "rs2": False}
    assert scene.condition(service, "Ready")[0] != "True"

    scene.agents.silent = set()
    scene.wait_until(
        lambda: all(member["prepared"] for member in members(scene).values()), "the members to be prepared"
    )
    assert members(scene)["rs1"]["bootId"] == "boot-of-s1"
    scene.wait_condition(service, "Ready", "True", "Ready")
    status = scene.status(service)
    assert status["addresses"] == ["192.168.4.15"]
    assert {director["node"] for director in status["directors"]} == set(DIRECTORS)


def test_a_removed_real_server_is_drained_before_its_address_goes(scene: World) -> None:
    service, pool = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    scene.agents.silent = set(DIRECTORS)
    scene.edit(pool, realServers=[real_server("rs1", "192.168.4.100")])
    scene.wait_until(lambda: "draining" in members(scene)["rs2"], "it to drain")
    assert bound(scene)["s2"] == ["192.168.4.15"]

    scene.agents.silent = {"d2"}  # one director is not through yet
    scene.wait_until(lambda: _drained_by(scene, "d1") == ["rs2"], "d1 to report")
    assert bound(scene)["s2"] == ["192.168.4.15"]

    scene.agents.silent = set()
    scene.wait_until(lambda: "rs2" not in members(scene), "it to leave the slice")
    scene.wait_until(lambda: "s2" not in bound(scene), "its address to go")


def _drained_by(scene: World, director: str) -> list[str]:
    (status,) = [item.get("status", {}) for item in scene.items(NODE) if item["metadata"]["name"] == director]
    return [name for one in status.get("drained") or () for name in one["members"]]


def test_a_weight_is_passed_on(scene: World) -> None:
    service, pool = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    scene.edit(pool, weight=1, realServers=[real_server("rs1", "192.168.4.100", weight=9)])
    scene.wait_until(lambda: members(scene)["rs1"]["weight"] == 9, "the weight to arrive")


def test_a_missing_pool_is_told_and_found_when_it_comes(scene: World) -> None:
    service = scene.server.create(virtual_service("lonely")).raise_for_status()
    scene.wait_condition(service, "ResolvedRefs", "False", "PoolNotFound")
    assert scene.names(SERVICE_SLICE) == set()
    scene.server.create(real_server_pool("lonely")).raise_for_status()
    scene.wait_condition(service, "Ready", "True", "Ready")


def test_a_missing_group_is_told_and_found_when_it_comes(scene: World) -> None:
    scene.server.create(real_server_pool("astray")).raise_for_status()
    service = scene.server.create(virtual_service("astray", directorGroupRef={"name": "later"})).raise_for_status()
    scene.wait_condition(service, "ResolvedRefs", "False", "DirectorGroupNotFound")
    group = scene.server.create(director_group("later")).raise_for_status()
    try:
        scene.wait_condition(service, "Ready", "True", "Ready")
    finally:
        scene.server.delete(service).raise_for_status()
        scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")
        scene.server.delete(group).raise_for_status()


def test_the_incumbent_keeps_a_contested_address(scene: World) -> None:
    first, _ = scene.create_web("first")
    scene.wait_condition(first, "Accepted", "True")
    second, _ = scene.create_web("second")
    scene.wait_condition(second, "Accepted", "False", "Conflict")
    assert scene.condition(first, "Accepted")[0] == "True"
    scene.server.delete(first).raise_for_status()
    scene.wait_condition(second, "Ready", "True", "Ready")


def test_an_older_service_edited_into_a_conflict_stays_as_it_was(scene: World) -> None:
    older, _ = scene.create_web("older", vip="192.168.4.16")
    younger, _ = scene.create_web("younger", vip="192.168.4.17")
    scene.wait_condition(older, "Ready", "True", "Ready")
    scene.wait_condition(younger, "Ready", "True", "Ready")
    before = {item["metadata"]["name"]: item["spec"] for item in scene.items(SERVICE_SLICE)}
    scene.edit(older, addresses=["192.168.4.17"])
    scene.wait_condition(older, "Accepted", "False", "Conflict")
    assert scene.condition(younger, "Accepted")[0] == "True"
    assert {item["metadata"]["name"]: item["spec"] for item in scene.items(SERVICE_SLICE)} == before
    assert scene.status(older)["addresses"] == ["192.168.4.16"]


@pytest.mark.parametrize(
    ("service", "servers", "condition", "reason"),
    [
        ({"addresses": ["192.168.4.1"]}, None, "Accepted", "NodeAddress"),
        (
            {"addresses": None, "ports": None, "firewallMark": {"value": 7, "families": ["IPv4"]}},
            [real_server("here", "192.168.4.1"), real_server("rs1", "192.168.4.100")],
            None,
            "DirectorIsRealServer",
        ),
    ],
)
def test_what_only_several_objects_say_wrong_is_a_reason(
    scene: World, service: Json, servers: list[Json] | None, condition: str | None, reason: str
) -> None:
    pool = real_server_pool("odd") if servers is None else real_server_pool("odd", realServers=servers)
    scene.server.create(pool).raise_for_status()
    raw = scene.server.create(virtual_service("odd", **service)).raise_for_status()
    if condition:
        scene.wait_condition(raw, condition, "False", reason)
        assert scene.names(SERVICE_SLICE) == set()
    else:
        scene.wait_until(lambda: members(scene, "odd").get("here", {}).get("refused") == reason, f"it to say {reason}")


def test_a_deleted_service_leaves_nothing(scene: World) -> None:
    service, _ = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    scene.server.delete(service).raise_for_status()
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")
    scene.wait_until(lambda: not bound(scene), "the addresses to go")
    scene.wait_until(lambda: labelled(scene) == set(DIRECTORS), "the servers to lose their label")


def labelled(scene: World) -> set[str]:
    nodes = scene.server.request("GET", "/api/v1/nodes").raise_for_status()["items"]
    return {
        node["metadata"]["name"]
        for node in nodes
        if node["metadata"].get("labels", {}).get("lvs-operator.io/node-agent") == "wanted"
    }


def test_agents_are_wanted_on_exactly_the_nodes_that_need_one(scene: World) -> None:
    scene.wait_until(lambda: labelled(scene) == set(DIRECTORS), "the directors to be labelled")
    service, _ = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    assert labelled(scene) == {*DIRECTORS, *SERVERS}
    assert scene.names(NODE) >= {*DIRECTORS, *SERVERS}


def test_users_objects_are_written_nowhere_but_in_their_status(scene: World) -> None:
    service, pool = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    scene.wait_condition(pool, "Ready", "True")
    (group,) = scene.items(USER_KINDS[2])
    for before in (service, pool, group):
        after = scene.server.get(before).raise_for_status()
        writers = {(one["manager"], one.get("subresource", "")) for one in after["metadata"]["managedFields"]}
        assert ("lvs-operator", "status") in writers
        assert not {manager for manager, part in writers if part != "status"} & {"lvs-operator", "kopf"}
        assert after["metadata"]["generation"] == 1
        assert not after["metadata"].get("finalizers")
        assert not after["metadata"].get("annotations")
        assert after["spec"] == before["spec"]
