"""CRDs deleted under the operator, and applied anew: nothing that it made is taken away, nothing is edited."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lvs_api.api_group import GROUP, LABEL_NODE_AGENT
from lvs_api.conditions import Reason, timestamp
from lvs_api.kinds import DIRECTOR_GROUP, NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE, Kind
from lvs_api.lvs_node import ServiceException
from lvs_api.testing import director_group, virtual_service
from support.operator_process import OperatorProcess, operator_to_its_end
from support.operator_world import DIRECTORS, World, world

Json = dict[str, Any]


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("absence")) as made:
        yield made


@pytest.fixture
def operator(scene: World) -> Iterator[OperatorProcess]:
    """An operator that has brought one service into being."""
    with operator_to_its_end(
        scene.directory, scene.server.kubeconfig, "--check-seconds=5", "--count-seconds=1"
    ) as process:
        service, _ = scene.create_web()
        scene.wait_condition(service, "Ready", "True")
        yield process


def delete_crd(scene: World, kind: Kind[Any, Any]) -> None:
    done = scene.server.kubectl("delete", "crd", f"{kind.plural}.{GROUP}", "--wait", "--timeout=60s")
    assert done.returncode == 0, done.stderr


def apply_crds(scene: World) -> None:
    """Apply them anew, in another second than that in which the objects were made: ages have no finer measure."""
    scene.wait_until(lambda: newest(scene) < timestamp(datetime.now(UTC)), "a second that is later")
    scene.server.install_crds()


def newest(scene: World) -> str:
    answers = [
        scene.server.request("GET", f"/apis/lvs-operator.io/v1alpha1/{kind.plural}") for kind in (SERVICE_SLICE, NODE)
    ]
    items = [item for answer in answers for item in answer.body.get("items", ())]
    return max((item["metadata"]["creationTimestamp"] for item in items), default="")


def made(scene: World, kind: Kind[Any, Any]) -> dict[str, tuple[str, int]]:
    """Uid and generation of what the operator made: an edit or a loss shows in them."""
    items = scene.items(kind)
    return {item["metadata"]["name"]: (item["metadata"]["uid"], item["metadata"]["generation"]) for item in items}


def labelled(scene: World) -> set[str]:
    items = scene.server.request("GET", "/api/v1/nodes").raise_for_status()["items"]
    return {item["metadata"]["name"] for item in items if LABEL_NODE_AGENT in item["metadata"].get("labels", {})}


def wait_rounds(scene: World, operator: OperatorProcess) -> None:
    """Until the operator has decided three times more, on a complete view."""
    scene.wait_until(lambda: operator.metric("lvs_operator_view_complete") == 1, "a complete view")
    before = operator.metric("lvs_operator_rounds_total")
    scene.wait_until(lambda: operator.metric("lvs_operator_rounds_total") >= before + 3, "three rounds")


def test_services_that_went_with_their_crd(scene: World, operator: OperatorProcess) -> None:
    slices, nodes, labels = made(scene, SERVICE_SLICE), made(scene, NODE), labelled(scene)
    delete_crd(scene, VIRTUAL_SERVICE)
    scene.wait_until(lambda: operator.metric("lvs_operator_removals_held") == 1, "the operator to hold")
    assert (made(scene, SERVICE_SLICE), made(scene, NODE), labelled(scene)) == (slices, nodes, labels)
    apply_crds(scene)
    wait_rounds(scene, operator)
    assert operator.metric("lvs_operator_removals_held") == 1
    assert (made(scene, SERVICE_SLICE), made(scene, NODE), labelled(scene)) == (slices, nodes, labels)
    service = scene.server.create(virtual_service("web")).raise_for_status()
    scene.wait_condition(service, "Ready", "True")
    assert made(scene, SERVICE_SLICE).keys().isdisjoint(slices)
    assert (made(scene, NODE), labelled(scene)) == (nodes, labels)
    scene.wait_until(lambda: operator.metric("lvs_operator_removals_held") == 0, "nothing to be held any more")


def test_slices_that_went_with_their_crd(scene: World, operator: OperatorProcess) -> None:
    slices, nodes, labels = scene.items(SERVICE_SLICE), made(scene, NODE), labelled(scene)
    delete_crd(scene, SERVICE_SLICE)
    scene.wait_until(lambda: operator.metric("lvs_operator_removals_held") == 1, "the operator to find out")
    apply_crds(scene)
    scene.wait_until(lambda: scene.items(SERVICE_SLICE), "the slices to be made anew")
    (anew,), (before,) = scene.items(SERVICE_SLICE), slices
    assert anew["spec"] == before["spec"], "prepared from the first"
    assert (made(scene, NODE), labelled(scene)) == (nodes, labels)
    scene.wait_condition(virtual_service("web"), "Ready", "True")


def test_lvs_nodes_that_went_with_their_crd(scene: World, operator: OperatorProcess) -> None:
    slices, labels = made(scene, SERVICE_SLICE), labelled(scene)
    specs = {item["metadata"]["name"]: item["spec"] for item in scene.items(NODE)}
    delete_crd(scene, NODE)
    scene.wait_until(lambda: operator.metric("lvs_operator_removals_held") == 1, "the operator to find out")
    assert (made(scene, SERVICE_SLICE), labelled(scene)) == (slices, labels)
    apply_crds(scene)
    scene.wait_until(lambda: scene.names(NODE) == specs.keys(), "the LvsNodes to be made anew")
    assert {item["metadata"]["name"]: item["spec"] for item in scene.items(NODE)} == specs
    wait_rounds(scene, operator)
    assert (made(scene, SERVICE_SLICE), labelled(scene)) == (slices, labels), "no weight was taken from anybody"
    scene.wait_condition(virtual_service("web"), "Ready", "True")


@pytest.mark.parametrize("kind", [DIRECTOR_GROUP, REAL_SERVER_POOL], ids=lambda kind: kind.name)
def test_what_a_service_needs_that_went_with_its_crd(
    scene: World, operator: OperatorProcess, kind: Kind[Any, Any]
) -> None:
    slices, nodes, labels = made(scene, SERVICE_SLICE), made(scene, NODE), labelled(scene)
    (raw,) = scene.items(kind)
    delete_crd(scene, kind)
    apply_crds(scene)
    wait_rounds(scene, operator)
    assert (made(scene, SERVICE_SLICE), made(scene, NODE), labelled(scene)) == (slices, nodes, labels)
    scene.server.create({**raw, "kind": kind.name, "apiVersion": f"{GROUP}/v1alpha1"}).raise_for_status()
    scene.wait_condition(virtual_service("web"), "Ready", "True")
    assert (made(scene, SERVICE_SLICE), made(scene, NODE), labelled(scene)) == (slices, nodes, labels)


def test_groups_and_services_that_went_together(scene: World, operator: OperatorProcess) -> None:
    """Between the CRDs and the objects there is nothing to say who is a director of what."""
    slices, nodes, labels = made(scene, SERVICE_SLICE), made(scene, NODE), labelled(scene)
    for kind in (DIRECTOR_GROUP, VIRTUAL_SERVICE):
        delete_crd(scene, kind)
    held = ServiceException(
        namespace="default", name="web", reason=Reason.REMOVAL_HELD, message="held", programmed=False
    )
    scene.agents.exceptions.update({name: [held] for name in DIRECTORS})
    for item in scene.items(SERVICE_SLICE):
        scene.server.delete(item).raise_for_status()  # as the garbage collector does
    apply_crds(scene)
    wait_rounds(scene, operator)
    assert (made(scene, NODE), labelled(scene)) == (nodes, labels)
    scene.server.create(director_group()).raise_for_status()
    scene.server.create(virtual_service("web")).raise_for_status()
    scene.agents.exceptions.clear()
    scene.wait_condition(virtual_service("web"), "Ready", "True")
    assert slices.keys().isdisjoint(made(scene, SERVICE_SLICE))
    assert (made(scene, NODE), labelled(scene)) == (nodes, labels)
