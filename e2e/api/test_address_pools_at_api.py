"""Tenancy at a real API server: what pools permit, addresses given out, permissions taken back, a CRD that goes."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from lvs_api.api_group import GROUP
from lvs_api.kinds import ADDRESS_POOL, SERVICE_SLICE
from lvs_api.testing import address_pool, real_server_pool, virtual_service
from support.api_server import MERGE
from support.operator_process import OperatorProcess, operator_to_its_end
from support.operator_world import USER_KINDS, World, world

Json = dict[str, Any]
TENANT = "team-a"
RANGE = "192.168.4.64/26"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("tenants"), policies=True) as made:
        body = {"metadata": {"name": TENANT, "labels": {"tenant": "a"}}}
        made.server.request("POST", "/api/v1/namespaces", body).raise_for_status()
        yield made


@pytest.fixture(scope="module", autouse=True)
def operator(scene: World, request: pytest.FixtureRequest) -> Iterator[OperatorProcess]:
    """With the flags that a test asks for."""
    flags = ("--check-seconds=5", "--count-seconds=1", *getattr(request, "param", ()))
    with operator_to_its_end(scene.directory, scene.operator_kubeconfig, *flags) as process:
        yield process


@pytest.fixture(autouse=True)
def tidy(scene: World) -> Iterator[None]:
    yield
    for kind in (*USER_KINDS[:2], ADDRESS_POOL):
        for item in scene.items(kind):
            scene.server.delete(item).raise_for_status()
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")


def tenants_service(scene: World, name: str = "shop", **changes: object) -> Json:
    scene.server.create(real_server_pool(name, namespace=TENANT)).raise_for_status()
    return scene.server.create(virtual_service(name, namespace=TENANT, **changes)).raise_for_status()


def asking(scene: World, name: str = "shop", **changes: object) -> Json:
    fields: Json = {"addresses": None, "addressPoolRef": {"name": "public"}, **changes}
    return tenants_service(scene, name, **fields)


def served(scene: World) -> set[str]:
    """The services that have slices."""
    return {item["spec"]["serviceRef"]["name"] for item in scene.items(SERVICE_SLICE)}


def test_default_deny_begins_with_the_first_pool_and_ends_with_the_last(scene: World) -> None:
    web, _ = scene.create_web()
    scene.wait_condition(web, "Ready", "True")
    pool = scene.server.create(address_pool(namespaces={"names": [TENANT]})).raise_for_status()
    scene.wait_condition(web, "Accepted", "False", "NotPermitted")
    scene.wait_until(lambda: not served(scene), "the service to be withdrawn")
    scene.wait_condition(pool, "Ready", "True", "Ready")
    shop = tenants_service(scene, addresses=["192.168.4.70"])
    scene.wait_condition(shop, "Ready", "True", "Ready")
    scene.wait_until(lambda: scene.status(pool).get("used") == 1, "the pool to count it")
    assert scene.condition(web, "Accepted") == ("False", "NotPermitted")
    scene.server.delete(pool).raise_for_status()
    scene.wait_condition(web, "Ready", "True")
    assert scene.condition(shop, "Ready") == ("True", "Ready")


def test_an_address_is_given_and_shown(scene: World) -> None:
    scene.server.create(address_pool(ranges=[RANGE])).raise_for_status()
    shop = asking(scene)
    scene.wait_condition(shop, "Ready", "True")
    (address,) = scene.status(shop)["addresses"]
    assert ip_address(address) in ip_network(RANGE)
    shown = scene.server.kubectl("get", "lvsvs", "--namespace", TENANT, "--no-headers")
    assert address in shown.stdout
    shown = scene.server.kubectl("get", "lvsap", "--no-headers")
    assert shown.stdout.split()[:4] == ["public", f'["{RANGE}"]', "64", "1"]
    assert "addresses" not in scene.server.get(shop).raise_for_status()["spec"]


def test_labels_of_a_namespace_give_and_take(scene: World) -> None:
    scene.server.create(address_pool(namespaces={"selector": {"matchLabels": {"tenant": "a"}}})).raise_for_status()
    shop = asking(scene)
    scene.wait_condition(shop, "Ready", "True")
    before = scene.status(shop)["addresses"]

    def label(value: str) -> None:
        body = {"metadata": {"labels": {"tenant": value}}}
        scene.server.request("PATCH", f"/api/v1/namespaces/{TENANT}", body, content_type=MERGE).raise_for_status()

    label("b")
    scene.wait_condition(shop, "Accepted", "False", "NotPermitted")
    scene.wait_until(lambda: not served(scene), "the service to be withdrawn")
    label("a")
    scene.wait_condition(shop, "Ready", "True")
    assert scene.status(shop)["addresses"] == before


def test_a_pool_that_is_used_up_says_so(scene: World) -> None:
    pool = scene.server.create(address_pool(ranges=["192.168.4.64/32"])).raise_for_status()
    first = asking(scene)
    scene.wait_condition(first, "Ready", "True")
    second = asking(scene, "second")
    scene.wait_condition(second, "Accepted", "False", "AddressPoolExhausted")
    scene.wait_condition(pool, "Ready", "False", "AddressPoolExhausted")
    scene.server.delete(first).raise_for_status()
    scene.wait_condition(second, "Ready", "True")
    scene.wait_condition(pool, "Ready", "True")


def test_a_crd_that_goes_permits_nothing_and_withdraws_nothing(scene: World) -> None:
    scene.server.create(address_pool(namespaces={"names": [TENANT]})).raise_for_status()
    shop = asking(scene)
    scene.wait_condition(shop, "Ready", "True")
    web, _ = scene.create_web()
    scene.wait_condition(web, "Accepted", "False", "NotPermitted")
    slices = {item["metadata"]["uid"] for item in scene.items(SERVICE_SLICE)}
    done = scene.server.kubectl("delete", "crd", f"{ADDRESS_POOL.plural}.{GROUP}", "--wait", "--timeout=60s")
    assert done.returncode == 0, done.stderr
    edited = scene.edit(shop, scheduler="rr")
    assert {item["metadata"]["uid"] for item in scene.items(SERVICE_SLICE)} == slices
    scene.server.install_crds()
    scene.server.create(address_pool(namespaces={"names": [TENANT]})).raise_for_status()
    scene.wait_until(
        lambda: scene.status(shop)["observedGeneration"] == edited["metadata"]["generation"],
        "the edit to be taken over",
    )
    scene.wait_condition(shop, "Ready", "True")
    scene.wait_condition(web, "Accepted", "False", "NotPermitted")
    # Between CRD and pool there was none, and everything permitted: what was let in then is withdrawn again.
    scene.wait_until(lambda: served(scene) == {"shop"}, "the other service to be withdrawn again")
    assert {item["metadata"]["uid"] for item in scene.items(SERVICE_SLICE)} == slices


@pytest.mark.parametrize("operator", [("--require-address-pool",)], indirect=True, scope="module", ids=["required"])
def test_where_a_pool_is_required_nothing_is_permitted_without_one(scene: World) -> None:
    web, _ = scene.create_web()
    scene.wait_condition(web, "Accepted", "False", "NotPermitted")
    (said,) = (one["message"] for one in scene.status(web)["conditions"] if one["type"] == "Accepted")
    assert "there is none, and the operator requires one (--require-address-pool)" in said
    assert not served(scene)
    pool = scene.server.create(address_pool()).raise_for_status()
    scene.wait_condition(web, "Ready", "True")
    scene.server.delete(pool).raise_for_status()
    scene.wait_condition(web, "Accepted", "False", "NotPermitted")
    scene.wait_until(lambda: not served(scene), "the service to be withdrawn with the last pool")
