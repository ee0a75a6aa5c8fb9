"""From which LvsAddressPool a Service of type LoadBalancer has its addresses, and when it has none."""

import pytest
from core_objects import address_pool
from endpoint_objects import HTTP, endpoint_slice, tell
from load_balancer_objects import BalancedCluster, balanced, made, serving


@pytest.fixture
def cluster() -> BalancedCluster:
    return BalancedCluster()


def reference(cluster: BalancedCluster) -> str:
    spec = made(cluster).spec
    assert spec is not None
    assert spec.address_pool_ref is not None
    return spec.address_pool_ref.name


def test_without_a_pool_for_its_namespace_it_gets_nothing(cluster: BalancedCluster) -> None:
    cluster.put(address_pool(cluster, namespaces={"names": ["elsewhere"]}))
    for annotations in ({}, {"addresses": "192.168.4.70"}):
        cluster.say(balanced(annotations))
        cluster.settle()
        assert cluster.says()["Accepted"] == "False AddressPoolNotFound"
        assert cluster.services == {}
    cluster.address_pools.clear()
    cluster.settle()
    assert cluster.says()["Accepted"] == "False AddressPoolNotFound"


def test_while_pools_are_not_known_nothing_is_made_and_nothing_taken(cluster: BalancedCluster) -> None:
    cluster.address_pools.clear()
    cluster.address_pools_known = False
    cluster.say(balanced())
    cluster.settle()
    assert cluster.says()["Accepted"] == "False CRDMissing"
    cluster.address_pools_known = True
    cluster.put(address_pool(cluster, ranges=["192.168.4.64/26"]))
    address = serving(cluster)
    cluster.address_pools.clear()
    cluster.address_pools_known = False
    cluster.settle()
    assert cluster.ingress() == [f"{address} Proxy"]


def test_of_several_pools_the_one_called_default_is_taken(cluster: BalancedCluster) -> None:
    cluster.put(address_pool(cluster, "default", ranges=["192.168.5.0/24"]))
    serving(cluster)
    assert reference(cluster) == "default"


def test_of_several_pools_one_must_be_named(cluster: BalancedCluster) -> None:
    cluster.put(address_pool(cluster, "inner", ranges=["192.168.5.0/24"]))
    cluster.say(balanced())
    cluster.settle()
    assert cluster.says()["Accepted"] == "False Invalid"
    assert "LvsAddressPools inner, public" in cluster.message()
    assert serving(cluster, {"address-pool": "inner"}).startswith("192.168.5.")


def test_a_second_pool_changes_no_address(cluster: BalancedCluster) -> None:
    address = serving(cluster)
    cluster.put(address_pool(cluster, "default", ranges=["192.168.5.0/24"]))
    cluster.settle()
    assert (cluster.ingress(), reference(cluster)) == ([f"{address} Proxy"], "public")


def test_an_address_that_is_named_must_be_permitted(cluster: BalancedCluster) -> None:
    assert serving(cluster, {"addresses": "192.168.4.70"}) == "192.168.4.70"
    cluster.say(balanced({"addresses": "192.168.9.70"}))
    cluster.settle()
    assert cluster.says() == {"Accepted": "True Accepted", "Ready": "False NotPermitted"}
    assert cluster.ingress() == []


def test_a_pool_that_is_named_and_missing_is_said(cluster: BalancedCluster) -> None:
    cluster.say(balanced({"address-pool": "nowhere"}))
    cluster.settle()
    assert cluster.says()["Ready"] == "False AddressPoolNotFound"


@pytest.mark.parametrize(
    ("policy", "ranges", "told"),
    [
        ("PreferDualStack", ["192.168.4.64/26"], 1),
        ("PreferDualStack", ["192.168.4.64/26", "2001:db8:4::/64"], 2),
        ("RequireDualStack", ["192.168.4.64/26", "2001:db8:4::/64"], 2),
        ("RequireDualStack", ["192.168.4.64/26"], 0),
    ],
)
def test_families(cluster: BalancedCluster, policy: str, ranges: list[str], told: int) -> None:
    cluster.put(address_pool(cluster, ranges=ranges, realServerRanges=["0.0.0.0/0", "::/0"]))
    six = endpoint_slice({"2001:db8:1::1": None}, HTTP, name="web-6", service="web")
    tell(cluster, endpoint_slice({"10.1.0.1": None}, HTTP, service="web"), six)
    cluster.say(balanced(ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy=policy))
    cluster.settle()
    assert len(cluster.ingress()) == told
    assert cluster.says()["Ready"] == ("True Ready" if told else "False FamilyMismatch")


def test_a_family_that_the_pool_has_not_got_is_missed_and_not_replaced(cluster: BalancedCluster) -> None:
    cluster.put(address_pool(cluster, ranges=["2001:db8:4::/64"]))
    cluster.say(balanced(ipFamilies=["IPv4"], ipFamilyPolicy="PreferDualStack"))
    cluster.settle()
    assert cluster.says()["Ready"] == "False FamilyMismatch"
