"""Unicast adverts whose source is not on the link that they go by: told, and nothing else changes."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from test_vrrp_config import LINKS, group, plan, router
from vrrp_world import MASTER, VrrpWorld, vrrp_plan

from lvs_agent.decide.kernel_state import InterfaceAddress, IPAddress
from lvs_agent.decide.unicast_sources import off_link
from lvs_agent.decide.vrrp_config import PlacedRouter, place_routers
from lvs_api.conditions import ConditionType, Reason

VIP, VIP6 = "192.168.65.127", "2001:db8:65::127"
ON_LINK, ELSEWHERE = "192.168.65.2", "10.0.0.1"
PEERS = ("192.168.65.3", "2001:db8:65::3")


def addresses(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ip_address(text) for text in texts)


def placed(
    *own: str, peers: tuple[str, ...] = PEERS, interface: str | None = None, names: tuple[str, ...] = ("default",)
) -> tuple[PlacedRouter, ...]:
    """One virtual router of both families in each group."""
    told = plan(router(7, 200, VIP), router(7, 200, VIP6), own=addresses(*own), peers=addresses(*peers))
    found = [replace(group(told, name, interface), addresses=addresses(VIP, VIP6)) for name in names]
    return place_routers(found, LINKS, {})


def test_a_source_on_another_device_is_told_with_both_devices_and_what_to_do() -> None:
    fault = off_link(placed(ELSEWHERE), LINKS)
    assert fault is not None
    assert fault.reason is Reason.UNICAST_OFF_LINK
    assert fault.message == (
        "LvsDirectorGroup default: unicast adverts go by eth0, which carries the VIPs, from 10.0.0.1, which is on "
        "eth1; on the VIPs' link the other directors may get no answer when they ask for that address (arp_ignore 1, "
        "IPv6), or drop what comes from it (rp_filter 1): then two are Master; set spec.vrrp.transport to Multicast, "
        "or make the Node's address on that link its first InternalIP, or name the device of this one in "
        "spec.interface, if the VIPs belong there"
    )


@pytest.mark.parametrize(
    ("own", "peers", "interface"),
    [
        ((), (), None),
        ((ON_LINK, "2001:db8:65::2"), PEERS, None),
        ((ELSEWHERE,), PEERS, "eth1"),
        ((ELSEWHERE,), (), None),
        ((ELSEWHERE,), PEERS[1:], None),
        (("192.0.2.1",), PEERS, None),
    ],
    ids=[
        "multicast",
        "on the link",
        "the interface of the group",
        "no peer",
        "no peer of its family",
        "on no device, which is a fault of its own",
    ],
)
def test_nothing_is_told(own: tuple[str, ...], peers: tuple[str, ...], interface: str | None) -> None:
    assert off_link(placed(*own, peers=peers, interface=interface), LINKS) is None


@pytest.mark.parametrize("device", ["eth0", "lo"])
def test_an_address_that_is_on_the_link_as_well_or_on_no_link_is_not_told(device: str) -> None:
    here = InterfaceAddress(device=device, address=ip_address("10.0.0.7"), prefix_length=32)
    links = replace(LINKS, addresses=LINKS.addresses | {here})
    assert off_link(placed("10.0.0.7"), links) is None
    assert off_link(placed("10.0.0.7"), replace(LINKS, addresses={replace(here, device="eth1")})) is not None


def test_families_have_a_source_each() -> None:
    six = InterfaceAddress(device="eth1", address=ip_address("2001:db8::1"), prefix_length=64)
    links = replace(LINKS, addresses=LINKS.addresses | {six})
    fault = off_link(placed(ON_LINK, "2001:db8::1"), links)
    assert fault is not None
    assert "from 2001:db8::1, which is on eth1" in fault.message
    assert ON_LINK not in fault.message


@pytest.mark.parametrize(("groups", "more"), [(1, ""), (3, ""), (4, "; and 1 more"), (6, "; and 3 more")])
def test_of_many_groups_the_first_few_are_named(groups: int, more: str) -> None:
    names = tuple(f"g{number}" for number in range(groups))
    fault = off_link(placed(ELSEWHERE, names=names), LINKS)
    assert fault is not None
    assert fault.message.count("LvsDirectorGroup ") == min(groups, 3)
    assert f"which is on eth1{more}; on the VIPs' link" in fault.message


def test_several_virtual_routers_of_a_group_are_told_once() -> None:
    told = plan(router(7, 200, VIP), router(8, 100, "192.168.65.9"), own=addresses(ELSEWHERE), peers=addresses(*PEERS))
    fault = off_link(place_routers([group(told)], LINKS, {}), LINKS)
    assert fault is not None
    assert fault.message.count(ELSEWHERE) == 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    yield made
    made.lose_supervisor()


async def test_the_node_says_it_while_it_is_so_and_the_daemon_is_told_the_same(world: VrrpWorld) -> None:
    world.links.add_device("eth1")
    away = InterfaceAddress(device="eth1", address=ip_address(ELSEWHERE), prefix_length=24)
    world.links.addresses.add(away)
    await world.do(vrrp_plan(own=addresses(ELSEWHERE), peers=addresses("10.0.0.2")))
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert f"unicast_src_ip {ELSEWHERE}" in wanted.text
    world.say(MASTER)
    await world.later(1)
    reason, message = world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", "")
    assert reason == "UnicastOffLink"
    assert f"by eth0, which carries the VIPs, from {ELSEWHERE}, which is on eth1" in message
    assert (world.holds, world.may_carry, world.router.state) == (True, True, MASTER)
    assert world.vrrp.read_wanted() == wanted
    world.links.addresses.add(replace(away, device="eth0"))
    await world.later(1)
    assert world.condition(ConditionType.FAILOVER_IMPAIRED) is None


async def test_a_daemon_that_does_not_run_is_told_before(world: VrrpWorld) -> None:
    world.links.add_device("eth1")
    world.links.addresses.add(InterfaceAddress(device="eth1", address=ip_address(ELSEWHERE), prefix_length=24))
    await world.do(vrrp_plan(own=addresses(ELSEWHERE), peers=addresses("10.0.0.2")))
    world.say(MASTER, pid=None, accepted=None, trouble="keepalived ended by itself, with 1")
    await world.later(10)
    assert (world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", ""))[0] == "VrrpDown"
