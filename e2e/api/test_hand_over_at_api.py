"""Planned hand-overs of a group without VRRP: the command, a cordoned Node, and maintenance.

Agents only say what they do.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lvs_api.kinds import DIRECTOR_GROUP, NODE
from lvs_lab.host_commands import Completed, run
from support.api_server import MERGE
from support.operator_process import OperatorProcess, operator_to_its_end
from support.operator_world import World, world

Json = dict[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("hand-over"), policies=True) as made:
        yield made


@pytest.fixture(scope="module")
def operator(scene: World) -> Iterator[OperatorProcess]:
    with operator_to_its_end(scene.directory, scene.operator_kubeconfig, "--count-seconds=1") as process:
        yield process


@pytest.fixture(scope="module")
def web(scene: World, operator: OperatorProcess) -> Json:
    assert operator.alive
    service, _ = scene.create_web()
    scene.wait_condition(service, "Ready", "True", "Ready")
    return service


def group(scene: World) -> Json:
    (only,) = scene.items(DIRECTOR_GROUP)
    return only


def giving_way(scene: World) -> list[str]:
    return [one["metadata"]["name"] for one in scene.items(NODE) if one["spec"].get("givesWay")]


def wait_active(scene: World, web: Json, name: str) -> None:
    scene.wait_until(lambda: scene.status(group(scene)).get("active") == name, f"{name} to be active")
    scene.wait_condition(web, "Ready", "True", "Ready")


def failover(scene: World, *words: str) -> Completed:
    environment = {**os.environ, "KUBECONFIG": str(scene.server.write_kubeconfig(scene.directory / "admin"))}
    return run([sys.executable, "-m", "lvs_cli", "failover", "default", *words], env=environment, check=False)


def test_the_command_has_another_director_carry_the_addresses(scene: World, web: Json) -> None:
    wait_active(scene, web, "d1")
    done = failover(scene)
    assert (done.stdout, done.returncode) == ("default: d2 carries the addresses instead of d1\n", 0), done.stderr
    wait_active(scene, web, "d2")
    assert giving_way(scene) == ["d1"]
    assert "lvs-operator.io/hand-over" not in group(scene)["metadata"].get("annotations", {})
    done = failover(scene, "--to", "d1")
    assert (done.stdout, done.returncode) == ("default: d1 carries the addresses instead of d2\n", 0), done.stderr
    assert giving_way(scene) == ["d2"]


def test_nothing_moves_while_the_one_that_has_the_addresses_says_nothing(scene: World, web: Json) -> None:
    wait_active(scene, web, "d1")
    scene.agents.silent.add("d1")
    body: Json = {"metadata": {"annotations": {"lvs-operator.io/hand-over": "by-hand"}}}
    path = "/apis/lvs-operator.io/v1alpha1/lvsdirectorgroups/default"
    scene.server.request("PATCH", path, body, content_type=MERGE).raise_for_status()
    scene.wait_until(lambda: giving_way(scene) == ["d1", "d2"], "d1 to be told")
    assert scene.status(group(scene))["active"] == "d1"
    assert scene.status(group(scene))["handOver"]["state"] == "UnderWay"
    scene.agents.silent.clear()
    wait_active(scene, web, "d2")
    scene.wait_until(lambda: scene.status(group(scene))["handOver"]["state"] == "Done", "the hand-over to be done")


def test_cordoned_nodes_and_maintenance_move_the_addresses(scene: World, web: Json) -> None:
    wait_active(scene, web, "d2")
    path = "/api/v1/nodes/d2"
    scene.server.request("PATCH", path, {"spec": {"unschedulable": True}}, content_type=MERGE).raise_for_status()
    wait_active(scene, web, "d1")
    said = {one["node"]: one.get("standsAside") for one in scene.status(group(scene))["directors"]}
    assert said == {"d1": None, "d2": "Cordoned"}
    refused = failover(scene)
    assert refused.stderr == "error: default: refused: no other director is ready: d2 stands aside (Cordoned)\n"
    scene.server.request("PATCH", path, {"spec": {"unschedulable": False}}, content_type=MERGE).raise_for_status()
    scene.edit(group(scene), maintenance=["d1"])
    wait_active(scene, web, "d2")
    scene.edit(group(scene), maintenance=[])
    scene.wait_until(
        lambda: "standsAside" not in str(scene.status(group(scene))["directors"]), "nobody to stand aside any more"
    )
    assert scene.status(group(scene))["active"] == "d2"
