"""Addresses that services have from address pools: which one each is given, and who goes without."""

from dataclasses import replace
from typing import Any

import pytest
from core_conditions import brief, condition
from core_objects import WEB, address_pool, pool, real_servers, service, small_cluster
from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_api.conditions import ConditionType, find_condition
from lvs_api.network_types import Family
from lvs_core.address_ranges import candidates, read_range
from lvs_core.cluster_view import ObjectKey, VirtualService

ANYWHERE = ["0.0.0.0/0"]


def asking(cluster: SimulatedCluster, name: str = "web", **reference: object) -> VirtualService:
    """A service that asks the pool `public` for its addresses."""
    return service(cluster, name, addresses=None, addressPoolRef={"name": "public", **reference})


def addresses(cluster: SimulatedCluster, name: str = "web") -> list[str]:
    status = cluster.services[ObjectKey("default", name)].status
    return list((status.addresses if status is not None else None) or ())


def giving(*ranges: str, **changes: object) -> SimulatedCluster:
    """A cluster whose service asks for an address out of these ranges."""
    cluster = small_cluster()
    cluster.put(address_pool(cluster, ranges=list(ranges) or ["192.168.4.64/26"], **changes))
    cluster.put(asking(cluster))
    return cluster


def test_an_address_is_given_and_kept() -> None:
    cluster = giving()
    cluster.settle()
    (given,) = addresses(cluster)
    assert given in read_range("192.168.4.64/26")
    assert brief(cluster)["Ready"] == "True Ready"
    other = giving()
    other.settle()
    assert addresses(other) == [given]  # of the same name, in another cluster
    first = next(candidates([read_range("192.168.4.0/24")], Family.IPV4, 0))
    assert first == "192.168.4.1"
    cluster.put(address_pool(cluster, ranges=["192.168.4.0/24"]))  # the first choice would be another one now
    cluster.settle()
    assert addresses(cluster) == [given]
    cluster.slices.clear()  # a restored backup, with its status
    cluster.settle()
    assert addresses(cluster) == [given]


def test_a_service_made_anew_waits_for_the_address_of_its_namesake() -> None:
    cluster = giving()
    cluster.settle()
    before = addresses(cluster)
    cluster.delete_service(WEB, collect=False)
    cluster.put(asking(cluster))
    cluster.put(pool(cluster, "second"))
    cluster.put(asking(cluster, "second"))
    cluster.settle()
    assert addresses(cluster) == before
    assert brief(cluster)["Ready"] == "True Ready"
    assert addresses(cluster, "second") != before


def test_what_one_cannot_have_for_its_real_servers_is_left_for_others() -> None:
    cluster = giving("192.168.4.64/31")
    cluster.settle()
    (given,) = addresses(cluster)
    (left,) = {"192.168.4.64", "192.168.4.65"} - {given}
    cluster.put(pool(cluster, "second", realServers=real_servers(rs1=left)))
    cluster.put(asking(cluster, "second"))
    for name in ("third", "fourth"):
        cluster.put(pool(cluster, name))
        cluster.put(asking(cluster, name))
    cluster.settle()
    assert [addresses(cluster, name) for name in ("second", "third", "fourth")] == [[], [left], []]


def test_an_address_that_its_pool_has_no_more_is_exchanged() -> None:
    cluster = giving("192.168.4.64/26")
    cluster.settle()
    cluster.put(address_pool(cluster, ranges=["192.168.4.32/32"]))
    cluster.settle()
    assert addresses(cluster) == ["192.168.4.32"]


def test_an_address_by_name_becomes_one_of_the_pool() -> None:
    cluster = small_cluster()
    cluster.put(address_pool(cluster))
    cluster.settle()
    cluster.put(asking(cluster))
    cluster.settle()
    assert addresses(cluster) == [testing.VIP]


@pytest.mark.parametrize(
    ("families", "expected"), [(None, [6]), (["IPv4"], [4]), (["IPv6", "IPv4"], [4, 6]), (["IPv6"], [6])]
)
def test_families(families: list[str] | None, expected: list[int]) -> None:
    cluster = giving("2001:db8:4::/64", "192.168.4.64/26", realServerRanges=["::/0", *ANYWHERE])
    cluster.put(asking(cluster, **({} if families is None else {"families": families})))
    both = real_servers(rs1="192.168.4.100", rs2="2001:db8:4::100")
    cluster.put(pool(cluster, realServers=both))
    cluster.settle()
    assert [6 if ":" in one else 4 for one in addresses(cluster)] == expected


def test_a_family_that_the_pool_has_not_is_no_want_of_addresses() -> None:
    cluster = giving("192.168.4.64/26")
    cluster.put(asking(cluster, families=["IPv4", "IPv6"]))
    cluster.settle()
    assert addresses(cluster) == []
    said = condition(cluster, ConditionType.RESOLVED_REFS)
    assert (said.status, said.reason) == ("False", "FamilyMismatch")
    assert said.message.startswith("spec.addressPoolRef.families: LvsAddressPool public has no IPv6 range; ")
    status = cluster.address_pools["public"].status
    ready = find_condition(status.conditions if status is not None else None, ConditionType.READY)
    assert ready is not None
    assert ready.reason == "Ready"


def test_without_families_it_keeps_the_one_that_it_has() -> None:
    cluster = giving("192.168.4.64/26")
    cluster.settle()
    before = addresses(cluster)
    cluster.put(address_pool(cluster, ranges=["2001:db8:4::/64", "192.168.4.64/26"]))
    cluster.settle()
    assert addresses(cluster) == before


def test_what_others_have_or_name_is_not_given_out() -> None:
    """Node n1, the real server rs2, a service by name, and what another service was given: two are left for three."""
    cluster = giving("192.168.4.99-192.168.4.104")
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.103", rs2="192.168.4.200")))
    cluster.put(service(cluster, "named", addresses=["192.168.4.104"], realServerPoolRef={"name": "web"}))
    for name in ("second", "third", "fourth"):
        wanted = asking(cluster, name)
        cluster.put(replace(wanted, spec=_behind_web(wanted)))
    cluster.settle()
    given = [addresses(cluster, name) for name in ("web", "second", "third", "fourth")]
    assert sorted(one for some in given for one in some) == ["192.168.4.101", "192.168.4.102", "192.168.4.99"]
    assert given[-1] == []
    said = condition(cluster, ConditionType.ACCEPTED, ObjectKey("default", "fourth"))
    assert (said.status, said.reason) == ("False", "AddressPoolExhausted")
    assert "spec.addressPoolRef.name: LvsAddressPool public has no IPv4 address left" in said.message
    status = cluster.address_pools["public"].status
    assert status is not None
    assert (status.addresses, status.used) == (6, 4)
    ready = find_condition(status.conditions, ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "AddressPoolExhausted")
    assert ready.message == "No address is left for default/fourth"
    cluster.delete_service(ObjectKey("default", "second"))
    cluster.settle()
    assert addresses(cluster, "fourth")
    assert addresses(cluster, "web") == given[0]


def test_one_that_was_withdrawn_asks_in_vain_too() -> None:
    cluster = giving("192.168.4.64/32")
    cluster.settle()
    cluster.put(pool(cluster, realServers=real_servers(rs1="10.9.9.9")))
    cluster.put(address_pool(cluster, ranges=["192.168.4.64/32"], realServerRanges=["192.168.4.0/24"]))
    cluster.settle()
    assert brief(cluster)["Accepted"] == "False NotPermitted"
    cluster.put(pool(cluster, "second"))
    cluster.put(asking(cluster, "second"))
    cluster.settle()
    assert addresses(cluster, "second") == ["192.168.4.64"]
    cluster.put(pool(cluster))
    cluster.settle()
    assert "has no IPv4 address left" in condition(cluster, ConditionType.ACCEPTED).message
    status = cluster.address_pools["public"].status
    ready = find_condition(status.conditions if status is not None else None, ConditionType.READY)
    assert ready is not None
    assert (ready.reason, ready.message) == ("AddressPoolExhausted", "No address is left for default/web")


@pytest.mark.parametrize("wrong", [{"realServerPoolRef": {"name": "none"}}, {"scheduler": "best"}], ids=str)
def test_who_is_refused_takes_what_is_left(wrong: dict[str, Any]) -> None:
    cluster = giving("192.168.4.64/32")
    cluster.put(service(cluster, addresses=None, addressPoolRef={"name": "public"}, **wrong))
    cluster.put(pool(cluster, "second"))
    cluster.put(asking(cluster, "second"))
    cluster.settle()
    assert addresses(cluster, "second") == ["192.168.4.64"]
    cluster.put(asking(cluster))
    cluster.settle()
    assert addresses(cluster, "second") == ["192.168.4.64"]
    assert condition(cluster, ConditionType.ACCEPTED).reason == "AddressPoolExhausted"


def test_two_that_are_refused_do_not_take_an_address_from_each_other_in_turn() -> None:
    cluster = giving("192.168.4.64/32")
    for name in ("web", "second"):
        wrong = [{**one, "port": 8080} for one in real_servers(rs1="192.168.4.100")]
        cluster.put(pool(cluster, name, realServers=wrong))
        cluster.put(asking(cluster, name))
    told = []
    for _ in range(4):
        cluster.round()
        told.append([condition(cluster, ConditionType.ACCEPTED, key).reason for key in cluster.services])
    assert told == [["PortMismatch", "AddressPoolExhausted"]] * 4


def _behind_web(wanted: VirtualService) -> Any:
    assert wanted.spec is not None
    reference = wanted.spec.real_server_pool_ref.model_copy(update={"name": "web"})
    return wanted.spec.model_copy(update={"real_server_pool_ref": reference})


def test_who_has_an_address_keeps_it_from_who_names_it() -> None:
    cluster = giving("192.168.4.64/26")
    cluster.settle()
    (given,) = addresses(cluster)
    older = service(cluster, "older", addresses=[given], realServerPoolRef={"name": "web"})
    cluster.put(replace(older, meta=replace(older.meta, creation_timestamp="2020-01-01T00:00:00Z")))
    cluster.settle()
    assert addresses(cluster) == [given]
    said = condition(cluster, ConditionType.ACCEPTED, ObjectKey("default", "older"))
    assert (said.status, said.reason) == ("False", "Conflict")


def test_who_is_refused_keeps_no_address_from_others() -> None:
    cluster = giving("192.168.4.64/32", namespaces={"names": ["default"]})
    squatter = service(cluster, "squatter", addresses=["192.168.4.64"])
    cluster.put(replace(squatter, meta=replace(squatter.meta, namespace="elsewhere")))
    cluster.settle()
    assert addresses(cluster) == ["192.168.4.64"]


@pytest.mark.parametrize("others", [False, True], ids=["no pool is left", "another pool is left"])
@pytest.mark.parametrize("running", [False, True], ids=["new", "running"])
def test_a_pool_that_is_not_there(others: bool, running: bool) -> None:
    """It freezes; but where another pool says that what runs is not permitted, it is withdrawn."""
    cluster = giving()
    if running:
        cluster.settle()
    cluster.address_pools.clear()
    if others:
        cluster.put(address_pool(cluster, "other", ranges=["10.0.0.0/8"]))
    cluster.settle()
    assert bool(cluster.slices) == (running and not others)
    if running and others:
        assert brief(cluster)["Accepted"] == "False NotPermitted"
    else:
        said = condition(cluster, ConditionType.RESOLVED_REFS)
        assert (said.status, said.reason) == ("False", "AddressPoolNotFound")
        assert "spec.addressPoolRef.name: LvsAddressPool public does not exist" in said.message


def test_a_pool_for_others() -> None:
    cluster = giving(namespaces={"names": ["team-a"]})
    cluster.settle()
    assert not cluster.slices
    said = condition(cluster, ConditionType.ACCEPTED)
    assert (said.status, said.reason) == ("False", "NotPermitted")
    assert "spec.addressPoolRef.name: LvsAddressPool public is not for namespace default" in said.message


def test_a_pool_that_cannot_be_read_freezes() -> None:
    cluster = giving()
    cluster.settle()
    before = addresses(cluster)
    cluster.put(address_pool(cluster, ranges=["192.168.4.9-192.168.4.1"]))
    cluster.settle()
    said = condition(cluster, ConditionType.RESOLVED_REFS)
    assert (said.status, said.reason) == ("False", "Invalid")
    assert "spec.ranges[0]" in said.message
    assert addresses(cluster) == before
    status = cluster.address_pools["public"].status
    assert status is not None
    assert {one.type: one.reason for one in status.conditions or ()} == {"Accepted": "Invalid", "Ready": "Invalid"}
