"""Pods as real servers at a real API server: Services and EndpointSlices come, change and go; the operator follows."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from lvs_api.kinds import REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.testing import address_pool, real_server_pool, virtual_service
from support.api_server import MERGE
from support.chart_release import OPERATOR, account_token
from support.fault_proxy import Fault, FaultProxy
from support.operator_process import OperatorProcess, operator_to_its_end
from support.operator_world import World, world

Json = dict[str, Any]
HTTP: Final = {"name": "http", "port": 8080, "protocol": "TCP"}
SERVICES: Final = "/api/v1/namespaces/default/services"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
NOT_READY: Final = {"ready": False, "serving": False, "terminating": False}
REFUSED_TIMES: Final = 3
TERMINATING: Final = {"ready": False, "serving": True, "terminating": True}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("endpoints"), policies=True) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(scene: World) -> Iterator[FaultProxy]:
    """Between the operator and the API server."""
    with FaultProxy(scene.server) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def operator(scene: World, proxy: FaultProxy) -> Iterator[OperatorProcess]:
    token = account_token(scene.server, OPERATOR)
    kubeconfig = scene.server.write_kubeconfig(scene.directory / "proxied.kubeconfig", token=token, url=proxy.url)
    with operator_to_its_end(scene.directory, kubeconfig, "--check-seconds=5", "--count-seconds=1") as process:
        yield process


@pytest.fixture
def web(scene: World) -> Iterator[Json]:
    """A service of two ready endpoints, which stand there by hand."""
    create_service(scene)
    create_slice(scene, {"10.1.0.1": {"ready": True}, "10.1.0.2": {}})
    scene.server.create(endpoint_pool()).raise_for_status()
    service = scene.server.create(virtual_service(forwarding={"method": "Masquerade"})).raise_for_status()
    scene.wait_condition(service, "Ready", "True", "Ready")
    yield service
    for kind in (VIRTUAL_SERVICE, REAL_SERVER_POOL):
        for item in scene.items(kind):
            scene.server.delete(item).raise_for_status()
    scene.server.request("DELETE", f"{SERVICES}/pods")
    for item in scene.server.request("GET", SLICES).raise_for_status()["items"]:
        if item["metadata"]["name"].startswith("pods-"):
            scene.server.request("DELETE", f"{SLICES}/{item['metadata']['name']}").raise_for_status()
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")


def endpoint_pool(**changes: object) -> Json:
    spec = {"realServers": None, "endpoints": {"serviceRef": {"name": "pods"}}, "drain": {"timeoutSeconds": 60}}
    return real_server_pool(**{**spec, **changes})


def create_service(scene: World, **spec: object) -> None:
    body = {"metadata": {"name": "pods"}, "spec": {"ports": [{"name": "http", "port": 80}], **spec}}
    scene.server.request("POST", SERVICES, body).raise_for_status()


def slice_body(endpoints: Mapping[str, Json], name: str = "pods-1", **changes: object) -> Json:
    return {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/service-name": "pods", "endpointslice.kubernetes.io/managed-by": "somebody"},
        },
        "addressType": "IPv4",
        "ports": [HTTP],
        "endpoints": [{"addresses": [address], "conditions": told} for address, told in endpoints.items()],
        **changes,
    }


def create_slice(scene: World, endpoints: Mapping[str, Json], name: str = "pods-1", **changes: object) -> None:
    scene.server.request("POST", SLICES, slice_body(endpoints, name, **changes)).raise_for_status()


def tell(scene: World, endpoints: Mapping[str, Json], name: str = "pods-1") -> None:
    """A slice's endpoints from now on."""
    body = {"endpoints": slice_body(endpoints)["endpoints"]}
    scene.server.request("PATCH", f"{SLICES}/{name}", body, content_type=MERGE).raise_for_status()


def members(scene: World) -> dict[str, str]:
    """By address: the port and the weight, or that it leaves."""
    return {
        one["address"]: f"{one['port']} " + ("leaves" if "draining" in one else str(one["weight"]))
        for item in scene.items(SERVICE_SLICE)
        for one in item["spec"].get("members") or ()
    }


def test_endpoints_come_and_go(scene: World, web: Json) -> None:
    assert members(scene) == {"10.1.0.1": "8080 1", "10.1.0.2": "8080 1"}
    scene.agents.silent = {"d1"}  # so that what leaves stays to be seen
    tell(scene, {"10.1.0.1": NOT_READY, "10.1.0.2": TERMINATING, "10.1.0.3": {"ready": True}})
    expected = {"10.1.0.1": "8080 0", "10.1.0.2": "8080 leaves", "10.1.0.3": "8080 1"}
    scene.wait_until(lambda: members(scene) == expected, "the three to be told")
    scene.wait_condition(web, "Ready", "True", "MembersNotReady")
    tell(scene, {"10.1.0.1": {"ready": True}})
    expected = {"10.1.0.1": "8080 1", "10.1.0.2": "8080 leaves", "10.1.0.3": "8080 leaves"}
    scene.wait_until(lambda: members(scene) == expected, "the vanished one to leave")
    scene.agents.silent = set()
    scene.wait_until(lambda: members(scene) == {"10.1.0.1": "8080 1"}, "what left to go")
    assert scene.status(endpoint_pool())["members"] == 1
    tell(scene, {"10.1.0.1": TERMINATING, "10.1.0.2": NOT_READY})
    scene.wait_until(lambda: "1 of them terminating" in str(scene.status(endpoint_pool())), "the last one to be told")
    assert members(scene) == {"10.1.0.1": "8080 1"}
    scene.wait_condition(web, "Ready", "True", "Ready")


def test_a_slice_that_goes_drains_what_no_other_has(scene: World, web: Json) -> None:
    create_slice(scene, {"10.1.0.2": {}}, "pods-2", ports=[HTTP])
    scene.server.request("DELETE", f"{SLICES}/pods-1").raise_for_status()
    scene.wait_until(lambda: members(scene) == {"10.1.0.2": "8080 1"}, "the other to stay alone")
    scene.wait_condition(web, "Ready", "True", "Ready")


def test_a_missing_service_freezes_what_runs(scene: World, web: Json) -> None:
    scene.server.request("DELETE", f"{SERVICES}/pods").raise_for_status()
    scene.wait_condition(web, "ResolvedRefs", "False", "ServiceNotFound")
    scene.wait_condition(endpoint_pool(), "Ready", "False", "ServiceNotFound")
    tell(scene, {"10.1.0.9": {}})
    scene.edit(endpoint_pool(), weight=4)
    scene.wait_until(lambda: scene.status(endpoint_pool())["observedGeneration"] == 2, "the pool's edit to be seen")
    assert members(scene) == {"10.1.0.1": "8080 1", "10.1.0.2": "8080 1"}
    create_service(scene)
    scene.wait_until(lambda: members(scene) == {"10.1.0.9": "8080 4"}, "the edit to be carried out")
    scene.wait_condition(web, "Ready", "True", "Ready")


def test_a_missing_port_and_a_method_without_vip_are_told(scene: World, web: Json) -> None:
    scene.edit(endpoint_pool(), endpoints={"serviceRef": {"name": "pods"}, "portName": "metrics"})
    scene.wait_condition(web, "ResolvedRefs", "False", "PortNotFound")
    scene.edit(endpoint_pool(), endpoints={"serviceRef": {"name": "pods"}})
    scene.wait_condition(web, "ResolvedRefs", "True")
    scene.edit(web, forwarding={"method": "DirectRouting"})
    scene.wait_condition(web, "Accepted", "False", "NeedsMasquerade")
    assert members(scene) == {"10.1.0.1": "8080 1", "10.1.0.2": "8080 1"}


@pytest.mark.usefixtures("web")
def test_slices_of_other_services_name_no_real_servers(scene: World) -> None:
    labels = {"kubernetes.io/service-name": "others"}
    create_slice(scene, {"10.1.0.7": {}}, metadata={"name": "pods-of-others", "labels": labels})
    tell(scene, {"10.1.0.1": {}, "10.1.0.8": {}})
    expected = {"10.1.0.1": "8080 1", "10.1.0.8": "8080 1"}
    scene.wait_until(lambda: members(scene) == expected, "what came later to be there alone")


@pytest.mark.usefixtures("web")
def test_no_error_takes_real_servers_away(scene: World, proxy: FaultProxy) -> None:
    """Nothing goes while EndpointSlices can be neither watched nor listed; what went meanwhile is found by a list."""
    create_slice(scene, {"10.1.0.3": {}}, "pods-2")
    before = {f"10.1.0.{host}": "8080 1" for host in (1, 2, 3)}
    scene.wait_until(lambda: members(scene) == before, "the third to join")
    seen = len(proxy.seen)
    with proxy.failing(Fault.INTERNAL_ERROR, only="endpointslices"):
        scene.server.request("DELETE", f"{SLICES}/pods-2").raise_for_status()
        scene.wait_until(
            lambda: sum(one.status == Fault.INTERNAL_ERROR.value for one in proxy.seen[seen:]) >= REFUSED_TIMES,
            "the operator to be refused",
        )
        assert members(scene) == before
    scene.wait_until(lambda: members(scene) == {"10.1.0.1": "8080 1", "10.1.0.2": "8080 1"}, "the third to leave")


def test_pods_need_the_permission_of_an_address_pool(scene: World, web: Json) -> None:
    ranges = ["10.1.0.0/16"]
    pool = scene.server.create(address_pool(realServerRanges=ranges)).raise_for_status()
    try:
        scene.wait_condition(pool, "Ready", "True")
        tell(scene, {"10.1.0.1": {}, "10.9.0.1": TERMINATING})
        scene.wait_until(lambda: members(scene) == {"10.1.0.1": "8080 1"}, "the second to leave")
        scene.wait_condition(web, "Ready", "True", "Ready")
        tell(scene, {"10.1.0.1": {}, "10.9.0.1": NOT_READY})
        scene.wait_condition(web, "Accepted", "False", "NotPermitted")
        scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the service to be withdrawn")
        scene.edit(pool, realServerRanges=[*ranges, "10.9.0.0/16"])
        scene.wait_condition(web, "Ready", "True", "Ready")
    finally:
        scene.server.delete(pool).raise_for_status()


def test_all_ports_of_a_service(scene: World, web: Json) -> None:
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    scene.server.request("PATCH", f"{SERVICES}/pods", {"spec": {"ports": ports}}, content_type=MERGE).raise_for_status()
    own = {"ports": [HTTP, {"name": "https", "port": 8443, "protocol": "TCP"}]}
    scene.server.request("PATCH", f"{SLICES}/pods-1", own, content_type=MERGE).raise_for_status()
    scene.edit(web, ports=[{**one, "protocol": "TCP"} for one in ports])

    def told() -> list[Any]:
        return [one.get("ports") for item in scene.items(SERVICE_SLICE) for one in item["spec"]["members"]]

    both = [{"name": "http", "port": 8080}, {"name": "https", "port": 8443}]
    scene.wait_until(lambda: told() == [both, both], "both ports to be told")
    scene.wait_condition(web, "Ready", "True", "Ready")
