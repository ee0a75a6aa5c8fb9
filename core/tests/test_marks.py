"""Services of firewall marks: what is accepted, who conflicts, what directors and real servers are told."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from core_conditions import brief, condition
from core_objects import WEB, director, group, pool, real_servers, service, small_cluster
from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_api.conditions import ConditionType
from lvs_api.network_types import Family, Protocol
from lvs_core.allocate import FIRST_MARK, LAST_MARK, MARKS, choose_mark, first_choice
from lvs_core.cluster_view import ObjectKey
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import MarkKey, PlannedService, VirtualServerKey

OTHER = ObjectKey("default", "other")
MARKED: dict[str, Any] = {"ports": None, "firewallMark": {"value": 10}}
BARE: dict[str, Any] = {"ports": None, "addresses": None, "firewallMark": {"value": 10, "families": ["IPv4"]}}
CHECKED = {"tcp": {}, "port": 80}


def planned(cluster: SimulatedCluster, node: str = "d1") -> tuple[PlannedService, ...]:
    view = AgentView(
        node=node, lvs_node=cluster.lvs_nodes[node], groups=dict(cluster.groups), slices=tuple(cluster.slices.values())
    )
    return tuple(compile_plan(view).services())


def other(cluster: SimulatedCluster, **changes: object) -> None:
    cluster.put(pool(cluster, "other", realServers=real_servers(a="192.168.4.9")))
    cluster.put(service(cluster, "other", **{"realServerPoolRef": {"name": "other"}, **changes}))


def test_a_mark_is_one_kernel_service_of_each_family() -> None:
    both = [testing.VIP, testing.VIP6]
    cluster = small_cluster(**MARKED, addresses=both)
    six = testing.real_server("six", "2001:db8:4::9", weight=3)
    cluster.put(pool(cluster, realServers=[*real_servers(a="192.168.4.100"), six]))
    cluster.settle()
    four, one_six = planned(cluster)
    assert four.key == MarkKey(mark=10, family=Family.IPV4)
    assert one_six.key == MarkKey(mark=10, family=Family.IPV6)
    assert [str(one.vip) for one in (four, one_six)] == both
    assert [(str(m.address), m.port) for m in four.members] == [("192.168.4.100", 0)]
    assert [(str(m.address), m.port, m.weight) for m in one_six.members] == [("2001:db8:4::9", 0, 3)]
    assert (four.port_name, str(four.key)) == (None, "mark 10 IPv4")
    status = cluster.services[WEB].status
    assert status is not None
    assert (status.firewall_mark, status.addresses) == (10, both)


def test_its_addresses_are_bound_by_directors_and_real_servers() -> None:
    cluster = small_cluster(**MARKED)
    cluster.settle()
    assert [(one.address, one.device) for one in cluster.lvs_nodes["n1"].spec.addresses or ()] == [(testing.VIP, "lo")]
    view = AgentView(
        node="d1", lvs_node=cluster.lvs_nodes["d1"], groups=dict(cluster.groups), slices=tuple(cluster.slices.values())
    )
    (directing,) = compile_plan(view).directing
    assert directing.addresses == (ip_address(testing.VIP),)
    assert brief(cluster)["Ready"] == "True Ready"


def test_without_addresses_nobody_binds_anything_and_nobody_verifies() -> None:
    cluster = small_cluster(**BARE)
    cluster.settle()
    (one,) = planned(cluster)
    assert one.vip is None
    assert "n1" not in cluster.lvs_nodes
    assert brief(cluster)["Ready"] == "True Unverified"
    assert "addresses of marked packets" in condition(cluster, ConditionType.READY).message
    cluster.put(service(cluster, **BARE, forwarding={"method": "Masquerade"}))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_a_port_becomes_a_mark_and_the_mark_another() -> None:
    cluster = small_cluster()
    cluster.settle()
    for value in (10, 11):
        cluster.put(service(cluster, ports=None, firewallMark={"value": value}))
        cluster.settle()
        assert [one.key for one in planned(cluster)] == [MarkKey(mark=value, family=Family.IPV4)]
        assert brief(cluster)["Ready"] == "True Ready"


def test_a_paused_service_keeps_its_mark() -> None:
    cluster = small_cluster(**MARKED)
    cluster.settle()
    cluster.put(service(cluster, ports=None, firewallMark={"value": 11}, paused=True))
    cluster.settle()
    (one,) = planned(cluster)
    assert (one.key, one.paused) == (MarkKey(mark=10, family=Family.IPV4), True)


@pytest.mark.parametrize("changes", [BARE, {**MARKED, "addresses": ["192.168.4.16"]}])
def test_a_mark_and_family_belong_to_one_service_of_a_group(changes: dict[str, Any]) -> None:
    cluster = small_cluster(**MARKED)
    cluster.settle()
    other(cluster, **changes)
    cluster.settle()
    assert brief(cluster, OTHER)["Accepted"] == "False Conflict"
    said = condition(cluster, ConditionType.ACCEPTED, OTHER).message
    assert "spec.firewallMark: mark 10 for IPv4 belongs to LvsVirtualService default/web in LvsDirectorGroup" in said
    assert brief(cluster)["Ready"] == "True Ready"
    del cluster.services[WEB]
    cluster.settle()
    assert brief(cluster, OTHER)["Accepted"] == "True Accepted"


@pytest.mark.parametrize(
    "changes",
    [
        {**BARE, "firewallMark": {"value": 11, "families": ["IPv4"]}},
        {**BARE, "directorGroupRef": {"name": "second"}},
        {"ports": [{"name": "ftp", "port": 21}]},
    ],
    ids=["another mark", "another group", "a port of the same address"],
)
def test_what_does_not_conflict(changes: dict[str, Any]) -> None:
    cluster = small_cluster(**MARKED)
    cluster.add_node(director("e1", "192.168.4.7"))
    cluster.put(group(cluster, "second"))
    other(cluster, **changes)
    cluster.settle()
    assert brief(cluster)["Accepted"] == "True Accepted"
    assert brief(cluster, OTHER)["Accepted"] == "True Accepted"


def test_the_other_family_of_a_mark_is_free() -> None:
    cluster = small_cluster(**MARKED)
    cluster.put(pool(cluster, "other", realServers=real_servers(a="2001:db8:4::9")))
    six = {**BARE, "firewallMark": {"value": 10, "families": ["IPv6"]}}
    cluster.put(service(cluster, "other", **six, realServerPoolRef={"name": "other"}))
    cluster.settle()
    assert brief(cluster, OTHER)["Accepted"] == "True Accepted"
    assert len(planned(cluster)) == 2


def test_two_groups_of_one_director_cannot_share_a_mark_there() -> None:
    cluster = small_cluster(**MARKED)
    cluster.put(group(cluster, "second"))
    other(cluster, **BARE, directorGroupRef={"name": "second"})
    cluster.settle()
    view = AgentView(
        node="d1", lvs_node=cluster.lvs_nodes["d1"], groups=dict(cluster.groups), slices=tuple(cluster.slices.values())
    )
    plan = compile_plan(view)
    key = MarkKey(mark=10, family=Family.IPV4)
    assert [one.conflicts for one in plan.directing if one.conflicts] == [((OTHER, key, WEB),)]


BEHIND = {"method": "Masquerade", "sourceNat": True}
REFUSED = [
    (
        {"realServers": [testing.real_server("a", "192.168.4.9", port=80)]},
        MARKED,
        "PortMismatch",
        "under a firewall mark",
    ),
    ({"healthCheck": {"tcp": {}}}, MARKED, "Invalid", "spec.healthCheck.port: is needed, for this service balances"),
    (
        {"realServers": real_servers(a="192.168.4.9", b="192.168.4.9")},
        MARKED,
        "Invalid",
        "spec.realServers: each address and port",
    ),
    (
        {"realServers": [{**real_servers(a="192.168.4.9")[0], "forwarding": BEHIND}]},
        MARKED,
        "Invalid",
        "spec.realServers[a].forwarding.sourceNat: is not possible under a firewall mark",
    ),
    (
        {"realServers": [{**real_servers(a="192.168.4.9")[0], "forwarding": BEHIND}]},
        {"ports": [{"name": "dns", "protocol": "UDP", "port": 53}], "onePacketScheduling": True},
        "Invalid",
        "spec.realServers[a].forwarding.sourceNat: is not possible under onePacketScheduling",
    ),
]


@pytest.mark.parametrize(("of_pool", "of_service", "reason", "message"), REFUSED)
def test_what_a_mark_does_not_go_with(
    of_pool: dict[str, Any], of_service: dict[str, Any], reason: str, message: str
) -> None:
    cluster = small_cluster(**of_service)
    cluster.put(pool(cluster, **of_pool))
    cluster.round()
    said = condition(cluster, ConditionType.READY)
    assert said.reason == reason
    assert message in said.message


def test_a_checked_mark_names_the_port() -> None:
    cluster = small_cluster(**MARKED)
    cluster.put(pool(cluster, healthCheck=CHECKED))
    cluster.settle()
    assert [m.check.port for one in planned(cluster) for m in one.members if m.check is not None] == [80, 80]


def test_a_family_without_real_servers_is_named() -> None:
    both = {**BARE, "firewallMark": {"value": 10, "families": ["IPv4", "IPv6"]}}
    cluster = small_cluster(**both)
    cluster.settle()
    said = condition(cluster, ConditionType.RESOLVED_REFS)
    assert said.reason == "FamilyMismatch"
    assert "spec.firewallMark.families: IPv6 is asked for" in said.message
    assert next(iter(planned(cluster))).key == MarkKey(mark=10, family=Family.IPV4)


GROUPED: dict[str, Any] = {
    "portMode": "Grouped",
    "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
}


def mark_of(cluster: SimulatedCluster, key: ObjectKey = WEB) -> int | None:
    status = cluster.services[key].status
    assert status is not None
    return status.firewall_mark


def test_grouped_ports_are_one_service_of_a_chosen_mark() -> None:
    cluster = small_cluster(**GROUPED)
    cluster.settle()
    (one,) = planned(cluster)
    mark = first_choice(WEB)
    assert mark in range(FIRST_MARK, LAST_MARK + 1)
    assert one.key == MarkKey(mark=mark, family=Family.IPV4)
    assert [str(key) for key in one.marked] == [f"TCP {testing.VIP}:80", f"TCP {testing.VIP}:443"]
    assert {member.port for member in one.members} == {0}
    assert mark_of(cluster) == mark
    assert brief(cluster)["Ready"] == "True Ready"


def test_both_families_have_one_mark() -> None:
    cluster = small_cluster(**GROUPED, addresses=[testing.VIP, testing.VIP6])
    cluster.put(pool(cluster, realServers=real_servers(a="192.168.4.100", b="2001:db8:4::9")))
    cluster.settle()
    four, six = planned(cluster)
    assert {one.key.mark for one in (four, six) if isinstance(one.key, MarkKey)} == {first_choice(WEB)}
    assert [str(key) for key in six.marked] == [f"TCP [{testing.VIP6}]:80", f"TCP [{testing.VIP6}]:443"]


def test_a_foreign_mark_is_not_chosen() -> None:
    cluster = small_cluster(**GROUPED)
    other(cluster, **{**BARE, "firewallMark": {"value": first_choice(WEB), "families": ["IPv4"]}})
    cluster.settle()
    assert mark_of(cluster) == first_choice(WEB) + 1
    assert brief(cluster)["Accepted"] == brief(cluster, OTHER)["Accepted"] == "True Accepted"


def test_a_chosen_mark_stays_and_a_later_foreign_one_conflicts() -> None:
    cluster = small_cluster(**GROUPED)
    cluster.settle()
    other(cluster, **{**BARE, "firewallMark": {"value": first_choice(WEB), "families": ["IPv4"]}})
    cluster.settle()
    assert mark_of(cluster) == first_choice(WEB)
    assert brief(cluster, OTHER)["Accepted"] == "False Conflict"


def test_a_restored_backup_finds_the_mark_that_the_status_tells() -> None:
    cluster = small_cluster(**GROUPED)
    other(cluster, **{**BARE, "firewallMark": {"value": first_choice(WEB), "families": ["IPv4"]}})
    cluster.settle()
    del cluster.services[OTHER]
    cluster.slices.clear()
    cluster.settle()
    assert mark_of(cluster) == first_choice(WEB) + 1


def test_many_services_have_many_marks_and_the_last_finds_none() -> None:
    taken: set[int] = set()
    for number in range(2000):
        mark = choose_mark(ObjectKey("default", f"s{number}"), taken)
        assert mark in MARKS
        assert mark not in taken
        taken.add(mark)
    assert choose_mark(WEB, set(MARKS)) is None
    assert choose_mark(WEB, set(MARKS) - {FIRST_MARK}) == FIRST_MARK
    assert choose_mark(WEB, set(), preferred=[5, LAST_MARK]) == LAST_MARK


def test_ports_are_grouped_and_separated_in_place() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.put(service(cluster, **GROUPED))
    cluster.settle()
    assert [one.key for one in planned(cluster)] == [MarkKey(mark=first_choice(WEB), family=Family.IPV4)]
    cluster.put(service(cluster, ports=GROUPED["ports"]))
    cluster.settle()
    assert [str(one.key) for one in planned(cluster)] == [f"TCP {testing.VIP}:80", f"TCP {testing.VIP}:443"]
    assert mark_of(cluster) is None


def test_a_grouped_port_is_somebodys_too() -> None:
    cluster = small_cluster(**GROUPED)
    cluster.settle()
    other(cluster, ports=[{"name": "https", "port": 443}])
    cluster.settle()
    assert brief(cluster, OTHER)["Accepted"] == "False Conflict"
    assert "spec.ports[https]" in condition(cluster, ConditionType.ACCEPTED, OTHER).message


@pytest.mark.parametrize(
    ("of_pool", "reason", "message"),
    [
        (
            {"healthCheck": {"tcp": {}}},
            "Invalid",
            "spec.healthCheck.port: is needed, for the ports of this",
        ),
        ({"realServers": [testing.real_server("a", "192.168.4.9", port=80)]}, "PortMismatch", "under portMode Grouped"),
    ],
)
def test_what_grouping_does_not_go_with(of_pool: dict[str, Any], reason: str, message: str) -> None:
    cluster = small_cluster(portMode="Grouped")
    cluster.put(pool(cluster, **of_pool))
    cluster.round()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert said.reason == reason
    assert message in said.message


@pytest.mark.parametrize("ports", [GROUPED, {"ports": GROUPED["ports"][:1]}], ids=["grouped", "separate"])
def test_ports_of_a_service_that_is_held_are_not_kept_from_another(ports: dict[str, Any]) -> None:
    """Two marks for one port would be none: the packet filter takes neither."""
    cluster = small_cluster(**GROUPED)
    cluster.settle()
    held = dict(cluster.slices)
    del cluster.services[WEB]
    cluster.settle()
    other(cluster, **ports)
    cluster.settle()
    view = AgentView(
        node="d1",
        lvs_node=cluster.lvs_nodes["d1"],
        groups=dict(cluster.groups),
        slices=(*cluster.slices.values(), *held.values()),
        held={WEB: "no look-up said that it is gone"},
    )
    (directing,) = compile_plan(view).directing
    assert {one.service for one in directing.services} == {OTHER}
    key = VirtualServerKey(address=ip_address(testing.VIP), port=80, protocol=Protocol.TCP)
    assert directing.conflicts == ((WEB, key, OTHER),)


@pytest.mark.parametrize(
    ("told", "programmed"), [({"localDelivery": True}, "True Programmed"), ({}, "False NotProgrammed")]
)
def test_with_local_delivery_a_group_that_carries_no_address_serves_all_the_same(
    told: dict[str, bool], programmed: str
) -> None:
    cluster = small_cluster(**{**BARE, "firewallMark": {"value": 10, "families": ["IPv4"], **told}})
    cluster.settle()
    one = cluster.lvs_nodes["d1"]
    assert one.status is not None
    (report,) = one.status.director_groups or ()
    carries_none = [report.model_copy(update={"holds_addresses": False})]
    cluster.lvs_nodes["d1"] = replace(one, status=one.status.model_copy(update={"director_groups": carries_none}))
    cluster.round()
    assert brief(cluster)["Programmed"] == programmed
