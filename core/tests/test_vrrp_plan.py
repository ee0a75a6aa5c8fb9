"""What a director says and listens to, from its group's settings and status."""

from typing import Any

import pytest

from lvs_api import testing
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import DirectorPlan, Holding
from lvs_core.view_objects import group_from_raw, lvs_node_from_raw, slice_from_raw
from lvs_core.vrrp import VrrpPlan

ROUTER = {"id": 55, "priorities": [{"node": "d1", "priority": 150}, {"node": "d2", "priority": 100}]}
DIRECTORS = [
    {"node": "d1", "addresses": ["192.168.4.5", "2001:db8:4::5"]},
    {"node": "d2", "addresses": ["192.168.4.6", "2001:db8:4::6"]},
    {"node": "d3"},
]
TOLD = {"virtualRouters": [ROUTER], "directors": DIRECTORS}


def directing(vrrp: dict[str, Any] | None, status: dict[str, Any] | None, *vips: str, node: str = "d1") -> DirectorPlan:
    group = testing.director_group(failover="VRRP", vrrp=vrrp)
    if status is not None:
        group["status"] = status
    service = {**testing.service_slice()["spec"]["service"], "addresses": list(vips or [testing.VIP])}
    view = AgentView(
        node=node,
        lvs_node=lvs_node_from_raw(testing.lvs_node(node, addresses=None, directorGroups=["default"])),
        groups={"default": group_from_raw(group)},
        slices=(slice_from_raw(testing.service_slice(service=service)),),
    )
    (only,) = compile_plan(view).directing
    return only


def plan(vrrp: dict[str, Any] | None, *vips: str, status: dict[str, Any] | None = None) -> VrrpPlan:
    found = directing(vrrp, status or TOLD, *vips)
    assert found.holding is Holding.VRRP
    assert found.vrrp is not None
    return found.vrrp


def routers(found: VrrpPlan) -> list[tuple[int, str, int, list[str]]]:
    return [(one.id, one.family, one.priority, [str(address) for address in one.addresses]) for one in found.routers]


@pytest.mark.parametrize("vrrp", [None, {}])
def test_defaults(vrrp: dict[str, Any] | None) -> None:
    assert plan(vrrp) == VrrpPlan(
        version=3,
        advert_interval_milliseconds=1000,
        preempt_delay_seconds=None,
        peers=(),
        own=(),
        password=None,
        tracked_interfaces=(),
        routers=plan(vrrp).routers,
    )
    assert routers(plan(vrrp)) == [(55, "IPv4", 150, [testing.VIP])]


def test_settings() -> None:
    vrrp = {
        "version": 2,
        "advertIntervalMilliseconds": 2000,
        "preemption": {"delaySeconds": 5},
        "authentication": {"password": "1111"},
        "trackedInterfaces": ["eth2", "eth1"],
    }
    found = plan(vrrp)
    assert (found.version, found.advert_interval_milliseconds, found.preempt_delay_seconds) == (2, 2000, 5)
    assert (found.password, found.tracked_interfaces) == ("1111", ("eth1", "eth2"))
    assert plan({"preemption": {}}).preempt_delay_seconds == 0


def test_families_of_one_virtual_router_and_the_gateways_of_real_servers() -> None:
    vrrp = {"gatewayAddresses": ["192.168.2.5", "2001:db8:2::5"]}
    assert routers(plan(vrrp, testing.VIP6, testing.VIP)) == [
        (55, "IPv4", 150, ["192.168.2.5", testing.VIP]),
        (55, "IPv6", 150, ["2001:db8:2::5", testing.VIP6]),
    ]
    assert routers(plan({"version": 2}, testing.VIP6, testing.VIP)) == [(55, "IPv4", 150, [testing.VIP])]


def test_addresses_are_shared_out_among_virtual_routers() -> None:
    second = {"id": 7, "priorities": [{"node": "d1", "priority": 100}, {"node": "d2", "priority": 150}]}
    status = {**TOLD, "virtualRouters": [ROUTER, second]}
    found = plan({"spread": 2}, "192.168.4.15", "2001:db8:4::15", status=status)
    carried = {address: number for number, _, _, addresses in routers(found) for address in addresses}
    assert carried.keys() == {"192.168.4.15", "2001:db8:4::15"}
    assert [one.id for one in found.routers] == sorted(one.id for one in found.routers)
    assert {one.id: one.priority for one in found.routers}.items() <= {55: 150, 7: 100}.items()


def test_who_is_weaker_in_each_virtual_router() -> None:
    first = {"node": "d1", "priority": 120}
    second = {"id": 7, "priorities": [first, {"node": "d2", "priority": 150}, {"node": "d3", "priority": 119}]}
    found = plan({"spread": 2}, "192.168.4.15", "2001:db8:4::15", status={**TOLD, "virtualRouters": [ROUTER, second]})
    assert {one.id: one.weaker for one in found.routers} == {55: {"d2"}, 7: {"d3"}}


def test_unicast_goes_from_the_own_address_to_those_of_the_others() -> None:
    found = plan({"transport": "Unicast"})
    assert [str(one) for one in found.own] == ["192.168.4.5", "2001:db8:4::5"]
    assert [str(one) for one in found.peers] == ["192.168.4.6", "2001:db8:4::6"]
    found = plan({"transport": "Unicast", "version": 2})
    assert ([str(one) for one in found.own], [str(one) for one in found.peers]) == (["192.168.4.5"], ["192.168.4.6"])


@pytest.mark.parametrize(
    ("vrrp", "status", "holding"),
    [
        ({}, None, Holding.KEEP),
        ({}, {"active": "d1"}, Holding.KEEP),
        ({"spread": 2}, TOLD, Holding.KEEP),
        ({}, {"virtualRouters": [{"id": 55, "priorities": ROUTER["priorities"][1:]}]}, Holding.KEEP),
        ({"transport": "Unicast"}, {**TOLD, "directors": DIRECTORS[1:]}, Holding.KEEP),
        ({}, {**TOLD, "vrrpBeginsWith": "d2"}, Holding.RELEASE),
        ({}, {**TOLD, "vrrpBeginsWith": "d1"}, Holding.VRRP),
        ({}, {**TOLD, "active": "d2"}, Holding.VRRP),
    ],
    ids=[
        "no status",
        "a status from before",
        "another number of virtual routers",
        "no priority for this director",
        "no address of its own",
        "another begins",
        "it begins",
        "another is Master",
    ],
)
def test_a_director_that_is_not_told_all_keeps_what_it_has(
    vrrp: dict[str, Any], status: dict[str, Any] | None, holding: Holding
) -> None:
    found = directing(vrrp, status)
    assert (found.holding, found.vrrp is not None) == (holding, holding is Holding.VRRP)


def test_without_services_there_are_no_virtual_routers_to_run() -> None:
    group = {**testing.director_group(failover="VRRP"), "status": TOLD}
    view = AgentView(
        node="d1",
        lvs_node=lvs_node_from_raw(testing.lvs_node("d1", addresses=None, directorGroups=["default"])),
        groups={"default": group_from_raw(group)},
    )
    (only,) = compile_plan(view).directing
    assert only.vrrp is not None
    assert (only.holding, only.vrrp.routers) == (Holding.VRRP, ())
