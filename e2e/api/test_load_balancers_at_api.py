"""Services of type LoadBalancer at a real API server: what the operator makes of them and writes onto them."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import pytest

from lvs_api.kinds import REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.testing import address_pool, director_group, real_server_pool, virtual_service
from support.api_server import CHECKOUT, MERGE, Answer, object_path
from support.operator_process import OperatorProcess, operator_to_its_end, running_operator
from support.operator_world import World, world

Json = dict[str, Any]
PREFIX: Final = "lvs-operator.io"
CLASS: Final = f"{PREFIX}/lvs"
SERVICES: Final = "/api/v1/namespaces/default/services"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
GIVEN_UP: Final = {"type": "ClusterIP", "loadBalancerClass": None, "allocateLoadBalancerNodePorts": None}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("balancers"), policies=True) as made:
        made.server.create(address_pool()).raise_for_status()
        yield made


@pytest.fixture(scope="module", autouse=True)
def operator(scene: World) -> Iterator[OperatorProcess]:
    flags = ("--check-seconds=5", "--count-seconds=1")
    with operator_to_its_end(scene.directory, scene.operator_kubeconfig, *flags) as process:
        yield process


@pytest.fixture(autouse=True)
def slices(scene: World) -> Iterator[None]:
    """Two ready endpoints of the Service `web`; afterwards nothing of it is left."""
    body = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in ("10.1.0.1", "10.1.0.2")],
    }
    scene.server.request("POST", SLICES, body).raise_for_status()
    yield
    scene.server.request("DELETE", f"{SERVICES}/web")
    scene.server.request("DELETE", f"{SLICES}/web-1").raise_for_status()
    scene.wait_until(lambda: not scene.items(VIRTUAL_SERVICE), "the virtual service to go")
    scene.wait_until(lambda: not scene.items(REAL_SERVER_POOL), "the pool to go")
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")


def create(scene: World, annotations: dict[str, str] | None = None, *, name: str = "web", **spec: object) -> Json:
    told = {f"{PREFIX}/{key}": value for key, value in (annotations or {}).items()}
    body = {
        "metadata": {"name": name, "annotations": told},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": CLASS,
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            **spec,
        },
    }
    return scene.server.request("POST", SERVICES, body).raise_for_status()


def patch(scene: World, body: Json, name: str = "web") -> None:
    scene.server.request("PATCH", f"{SERVICES}/{name}", body, content_type=MERGE).raise_for_status()


def status(scene: World, name: str = "web") -> Json:
    told: Json = scene.server.request("GET", f"{SERVICES}/{name}").raise_for_status()["status"]
    return told


def says(scene: World) -> dict[str, str]:
    """Our conditions, in short."""
    found = status(scene).get("conditions", ())
    return {
        one["type"].removeprefix(f"{PREFIX}/"): f"{one['status']} {one['reason']}"
        for one in found
        if one["type"].startswith(f"{PREFIX}/")
    }


def ingress(scene: World) -> list[Json]:
    told: list[Json] = status(scene)["loadBalancer"].get("ingress", [])
    return told


def wait_served(scene: World) -> str:
    """The address that is told."""
    served = {"Accepted": "True Accepted", "Ready": "True Ready"}
    scene.wait_until(lambda: says(scene) == served, "the Service to be served")
    scene.wait_until(lambda: ingress(scene), "its address to be told")
    (one,) = ingress(scene)
    assert one["ipMode"] == "Proxy"
    return str(one["ip"])


def test_a_service_is_served_and_what_is_made_of_it_is_its_own(scene: World) -> None:
    uid = create(scene)["metadata"]["uid"]
    address = wait_served(scene)
    assert address.startswith("192.168.4.")
    for kind in (VIRTUAL_SERVICE, REAL_SERVER_POOL):
        (made,) = scene.items(kind)
        owner = {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": uid, "controller": True}
        assert made["metadata"]["ownerReferences"] == [owner]
        assert {one["manager"] for one in made["metadata"]["managedFields"]} == {"lvs-operator"}
    members = [one["address"] for item in scene.items(SERVICE_SLICE) for one in item["spec"]["members"]]
    assert members == ["10.1.0.1", "10.1.0.2"]


def test_nothing_of_the_service_but_its_status_is_written(scene: World) -> None:
    before = create(scene)
    wait_served(scene)
    after = scene.server.request("GET", f"{SERVICES}/web").raise_for_status()
    assert after["spec"] == before["spec"]
    (own,) = [one for one in after["metadata"]["managedFields"] if one["manager"] == "lvs-operator"]
    assert (own["subresource"], set(own["fieldsV1"])) == ("status", {"f:status"})
    assert "finalizers" not in after["metadata"]


def test_edits_are_followed_and_those_of_what_was_made_are_overruled(scene: World) -> None:
    create(scene)
    address = wait_served(scene)
    patch(scene, {"spec": {"sessionAffinity": "ClientIP"}, "metadata": {"annotations": {f"{PREFIX}/scheduler": "sh"}}})

    def spec() -> Json:
        found: Json = scene.items(VIRTUAL_SERVICE)[0]["spec"]
        return found

    scene.wait_until(lambda: (spec()["scheduler"], "persistence" in spec()) == ("sh", True), "the edit to be followed")
    by_user = {"spec": {"scheduler": "rr", "paused": True}}
    path = object_path(virtual_service("web"))
    scene.server.request("PATCH", path, by_user, content_type=MERGE).raise_for_status()
    scene.wait_until(lambda: (spec()["scheduler"], spec()["paused"]) == ("sh", False), "the user to be overruled")
    assert wait_served(scene) == address


def test_a_fault_is_told_and_what_runs_goes_on(scene: World) -> None:
    create(scene)
    address = wait_served(scene)
    patch(scene, {"metadata": {"annotations": {f"{PREFIX}/sheduler": "sh"}}})
    scene.wait_until(lambda: says(scene)["Accepted"] == "False Invalid", "the fault to be told")
    assert [one["ip"] for one in ingress(scene)] == [address]
    (told,) = [one for one in status(scene)["conditions"] if one["type"] == f"{PREFIX}/Accepted"]
    assert f"metadata.annotations[{PREFIX}/sheduler]" in told["message"]

    def reasons() -> set[str]:
        query = "fieldSelector=involvedObject.kind%3DService%2CinvolvedObject.name%3Dweb"
        found = scene.server.request("GET", f"/api/v1/namespaces/default/events?{query}").raise_for_status()
        return {one["reason"] for one in found["items"] if one["involvedObject"]["apiVersion"] == "v1"}

    scene.wait_until(lambda: {"Accepted", "Ready", "Invalid"} <= reasons(), "events on the Service")


def test_what_a_user_wrote_under_its_name_stays(scene: World) -> None:
    theirs = scene.server.create(real_server_pool("web")).raise_for_status()
    create(scene)
    scene.wait_until(lambda: says(scene).get("Accepted") == "False NameTaken", "the clash to be told")
    assert scene.items(VIRTUAL_SERVICE) == []
    (kept,) = scene.items(REAL_SERVER_POOL)
    assert (kept["metadata"]["uid"], kept["spec"]) == (theirs["metadata"]["uid"], theirs["spec"])
    scene.server.delete(theirs).raise_for_status()
    wait_served(scene)


def test_a_quota_of_the_namespace_is_told(scene: World) -> None:
    quotas = "/api/v1/namespaces/default/resourcequotas"
    hard = {f"count/lvsvirtualservices.{PREFIX}": "0"}
    none = {"metadata": {"name": "none"}, "spec": {"hard": hard}}
    scene.server.request("POST", quotas, none).raise_for_status()
    # As the controller of quotas writes it, which does not run here.
    counted = {"status": {"hard": hard, "used": hard}}
    scene.server.request("PATCH", f"{quotas}/none/status", counted, content_type=MERGE).raise_for_status()

    def in_force() -> bool:
        """Dry runs are not counted."""
        probe = scene.server.create(virtual_service("probe"))
        if probe.status == HTTPStatus.FORBIDDEN:
            return True
        scene.server.delete(virtual_service("probe")).raise_for_status()
        return False

    scene.wait_until(in_force, "the quota to be in force")
    create(scene)
    refused = {"Accepted": "False WriteRefused", "Ready": "False WriteRefused"}
    scene.wait_until(lambda: says(scene) == refused, "the refusal to be told")
    scene.server.request("DELETE", f"{quotas}/none").raise_for_status()
    wait_served(scene)


@pytest.mark.parametrize("change", ["deleted", "another type"])
def test_all_goes_with_what_asked_for_it(scene: World, change: str) -> None:
    create(scene)
    wait_served(scene)
    if change == "deleted":
        scene.server.request("DELETE", f"{SERVICES}/web").raise_for_status()
    else:
        patch(scene, {"spec": GIVEN_UP})
        scene.wait_until(lambda: status(scene) == {"loadBalancer": {}}, "its status to say nothing")
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")
    scene.wait_until(lambda: not scene.items(VIRTUAL_SERVICE), "the virtual service to go")


def test_the_address_is_withdrawn_and_told_again(scene: World) -> None:
    create(scene)
    address = wait_served(scene)
    nobody: Json = {"endpoints": []}
    scene.server.request("PATCH", f"{SLICES}/web-1", nobody, content_type=MERGE).raise_for_status()
    scene.wait_until(lambda: not ingress(scene), "the address to be withdrawn")
    back = {"endpoints": [{"addresses": ["10.1.0.7"], "conditions": {"ready": True}}]}
    scene.server.request("PATCH", f"{SLICES}/web-1", back, content_type=MERGE).raise_for_status()
    assert wait_served(scene) == address


def test_others_conditions_stay(scene: World) -> None:
    create(scene)
    wait_served(scene)
    foreign = {
        "type": "example.org/Checked",
        "status": "True",
        "reason": "Checked",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    add = {"status": {"conditions": [foreign]}}
    path = f"{SERVICES}/web/status"
    strategic = "application/strategic-merge-patch+json"
    scene.server.request("PATCH", path, add, content_type=strategic).raise_for_status()
    patch(scene, {"metadata": {"annotations": {f"{PREFIX}/scheduler": "none"}}})
    scene.wait_until(lambda: says(scene)["Accepted"] == "False Invalid", "the fault to be told")
    assert "example.org/Checked" in {one["type"] for one in status(scene)["conditions"]}
    patch(scene, {"metadata": {"annotations": {f"{PREFIX}/scheduler": None}}, "spec": GIVEN_UP})
    scene.wait_until(lambda: says(scene) == {}, "ours to go")
    assert [one["type"] for one in status(scene)["conditions"]] == ["example.org/Checked"]


@pytest.mark.parametrize("balancer", ["example.org/other", None])
def test_other_classes_are_left_alone(scene: World, balancer: str | None) -> None:
    before = create(scene, loadBalancerClass=balancer)
    scene.server.create(real_server_pool("witness")).raise_for_status()
    witness = scene.server.create(virtual_service("witness")).raise_for_status()
    scene.wait_condition(witness, "Ready", "True", "Ready")  # the operator has seen what came before
    assert status(scene) == before["status"]
    assert scene.names(VIRTUAL_SERVICE) == {"witness"}
    for one in (witness, real_server_pool("witness")):
        scene.server.delete(one).raise_for_status()


@pytest.fixture
def limited(scene: World) -> Iterator[str]:
    """The policy that the page on teams has is in force; gives what it says."""
    page = (CHECKOUT / "docs/how-to/share-addresses-among-teams.md").read_text()
    (text,) = re.findall(r"```yaml\n(apiVersion: admissionregistration.*?)```", page, re.DOTALL)
    scene.server.kubectl("apply", "--filename=-", stdin=text).check_returncode()
    scene.wait_until(lambda: of_edge(scene).status == HTTPStatus.FORBIDDEN, "the policy to be in force")
    yield of_edge(scene).message
    label(scene, None)
    scene.server.kubectl("delete", "--filename=-", stdin=text).check_returncode()
    scene.wait_until(lambda: of_edge(scene).status == HTTPStatus.CREATED, "the policy to be gone")


def of_edge(scene: World) -> Answer:
    """Whether a virtual service of another director group would be taken."""
    return scene.server.create(virtual_service("other", directorGroupRef={"name": "edge"}), dry_run=True)


def label(scene: World, group: str | None) -> None:
    body = {"metadata": {"labels": {"example.com/director-group": group}}}
    scene.server.request("PATCH", "/api/v1/namespaces/default", body, content_type=MERGE).raise_for_status()


def test_the_policy_of_the_page_on_teams_limits_director_groups(scene: World, limited: str) -> None:
    assert "spec.directorGroupRef: namespace default has LvsDirectorGroup default" in limited
    scene.server.create(virtual_service("own"), dry_run=True).raise_for_status()
    create(scene, {"director-group": "edge"})
    scene.wait_until(lambda: says(scene).get("Accepted") == "False WriteRefused", "the Service to say so")
    (told,) = (one["message"] for one in status(scene)["conditions"] if one["type"] == f"{PREFIX}/Accepted")
    assert "namespace default has LvsDirectorGroup default" in told
    label(scene, "edge")
    scene.wait_until(lambda: of_edge(scene).status == HTTPStatus.CREATED, "the label to count")
    assert scene.server.create(virtual_service("own"), dry_run=True).status == HTTPStatus.FORBIDDEN


@pytest.fixture
def edge(scene: World) -> Iterator[None]:
    """Another director group."""
    group = scene.server.create(director_group("edge")).raise_for_status()
    yield
    scene.server.delete(group).raise_for_status()


@pytest.mark.usefixtures("edge", "limited")
def test_a_move_to_a_director_group_that_is_refused_ends_nothing(scene: World) -> None:
    create(scene)
    address = wait_served(scene)
    (before,) = scene.items(VIRTUAL_SERVICE)
    patch(scene, {"metadata": {"annotations": {f"{PREFIX}/director-group": "edge"}}})
    scene.wait_until(lambda: says(scene).get("Accepted") == "False WriteRefused", "the Service to say so")
    (told,) = (one["message"] for one in status(scene)["conditions"] if one["type"] == f"{PREFIX}/Accepted")
    assert f"metadata.annotations[{PREFIX}/director-group]" in told
    assert "namespace default has LvsDirectorGroup default" in told
    (after,) = scene.items(VIRTUAL_SERVICE)
    assert (after["metadata"]["uid"], [one["ip"] for one in ingress(scene)]) == (before["metadata"]["uid"], [address])
    label(scene, "edge")

    def group() -> list[str]:
        return [one["spec"]["directorGroupRef"]["name"] for one in scene.items(VIRTUAL_SERVICE)]

    scene.wait_until(lambda: group() == ["edge"], "it to be made anew when the namespace may have the group")


def test_node_ports_are_the_real_servers_where_asked_for(scene: World) -> None:
    raw = create(scene, {"real-servers": "Nodes"})
    port = raw["spec"]["ports"][0]["nodePort"]
    scene.wait_until(lambda: scene.items(SERVICE_SLICE), "the slices")

    def told() -> set[str]:
        items = scene.items(SERVICE_SLICE)
        return {one["name"] for item in items for one in item["spec"].get("members") or ()}

    scene.wait_until(lambda: {"node.s1", "node.s2"} <= told(), "the nodes to be real servers")
    (service,) = scene.items(VIRTUAL_SERVICE)
    assert [one["realServerPort"] for one in service["spec"]["ports"]] == [port], json.dumps(service["spec"])


def test_what_happened_while_the_operator_was_away_is_carried_out(scene: World, operator: OperatorProcess) -> None:
    """The last one: another operator goes on. No garbage collector runs here, so what is left is left to it."""
    names = ("edited", "given-up", "deleted", "made-anew")
    for name in names:
        create(scene, name=name)
    scene.wait_until(lambda: set(scene.names(VIRTUAL_SERVICE)) == set(names), "all to be made")
    assert operator.terminate() == 0
    patch(scene, {"spec": {"sessionAffinity": "ClientIP"}}, name="edited")
    patch(scene, {"spec": GIVEN_UP}, name="given-up")
    for name in ("deleted", "made-anew"):
        scene.server.request("DELETE", f"{SERVICES}/{name}").raise_for_status()
    uid = create(scene, name="made-anew")["metadata"]["uid"]

    def made() -> dict[str, Json]:
        return {one["metadata"]["name"]: one for one in scene.items(VIRTUAL_SERVICE)}

    assert set(made()) == set(names)
    with running_operator(scene.directory, scene.operator_kubeconfig, "--check-seconds=5", name="another"):
        scene.wait_until(lambda: set(made()) == {"edited", "made-anew"}, "what nobody asks for to go")
        scene.wait_until(lambda: "persistence" in made()["edited"]["spec"], "the edit to be carried out")
        scene.wait_until(
            lambda: made().get("made-anew", {}).get("metadata", {}).get("ownerReferences", [{}])[0].get("uid") == uid,
            "the namesake to have objects of its own",
        )
        scene.wait_until(lambda: status(scene, "given-up") == {"loadBalancer": {}}, "its status to say nothing")
        for name in ("edited", "given-up", "made-anew"):
            scene.server.request("DELETE", f"{SERVICES}/{name}").raise_for_status()
        scene.wait_until(lambda: not made() and not scene.items(REAL_SERVER_POOL), "all to go")
        scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")
