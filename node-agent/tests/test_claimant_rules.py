"""What is said of those who answer for an address, by the answers and adverts alone."""

from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from agent_world import GROUP, VIP
from vrrp_world import vrrp_plan

from lvs_agent.decide.claimants import Acquaintances, are_told_apart, claimants, speakers
from lvs_agent.decide.heard_adverts import Manner, Sender
from lvs_agent.decide.kernel_state import AddressBinding
from lvs_agent.decide.virtual_routers import RouterKey
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_api.network_types import Family
from lvs_core.vrrp import VirtualRouter

THEIRS = b"\x0b" * 6
OTHER = "192.168.4.6"
OLD: dict[str, Any] = {"version": 2, "advert_interval_milliseconds": 2000, "password": "1111"}


def test_who_is_a_director_is_called_one_first() -> None:
    vip = ip_address(VIP)
    answers = {vip: frozenset({THEIRS}), ip_address(OTHER): frozenset({THEIRS})}
    known = Acquaintances(directors={ip_address(OTHER): "two"}, servers={ip_address(OTHER): "real server two"})
    who = claimants(vip, answers, known, own=frozenset())
    assert (who.directors, who.servers, who.strangers) == ((f"two ({THEIRS.hex(':')})",), (), ())
    assert claimants(vip, answers, known, own=frozenset({THEIRS})).directors == ()


@pytest.mark.parametrize(
    ("address", "directors", "answering", "expected"),
    [
        (VIP, ["192.168.4.6"], [], True),
        ("2001:db8::15", [], [], True),
        ("2001:db8::15", ["2001:db8::6"], [], False),
        ("2001:db8::15", ["2001:db8::6"], ["2001:db8::6"], True),
    ],
    ids=["adverts over IPv4 are heard", "no other", "no other on this link", "the other answers"],
)
def test_strangers_are_known_as_such_where_directors_are(
    address: str, directors: list[str], answering: list[str], expected: bool
) -> None:
    family = Family.IPV6 if ":" in address else Family.IPV4
    vip = ip_address(address)
    (group,) = vrrp_plan().directing
    assert group.vrrp is not None
    one = PlacedRouter(
        key=RouterKey(GROUP, 55, family),
        router=VirtualRouter(id=55, family=family, priority=100, addresses=(vip,)),
        plan=group.vrrp,
        device="eth0",
        bindings=(AddressBinding(address=vip, device="eth0"),),
    )
    answers = {ip_address(one): frozenset({THEIRS}) for one in answering}
    known = Acquaintances(directors={ip_address(one): "two" for one in directors})
    assert are_told_apart(one, answers, known) is expected


@pytest.mark.parametrize(
    ("changes", "family", "sender", "expected"),
    [
        ({}, Family.IPV4, ("eth0", 55, OTHER), True),
        ({}, Family.IPV4, ("eth1", 55, OTHER), False),
        ({}, Family.IPV4, ("eth0", 56, OTHER), False),
        ({"peers": (ip_address(OTHER),)}, Family.IPV4, ("eth0", 55, OTHER), True),
        ({"peers": (ip_address("192.168.4.7"),)}, Family.IPV4, ("eth0", 55, OTHER), False),
        ({"peers": (ip_address("2001:db8::7"),)}, Family.IPV4, ("eth0", 55, OTHER), True),
        ({}, Family.IPV6, ("eth0", 55, OTHER), True),
        ({"routers": ()}, Family.IPV6, ("eth0", 55, OTHER), False),
        ({}, Family.IPV4, ("eth0", 55, OTHER, Manner(3, True)), True),
        ({}, Family.IPV4, ("eth0", 55, OTHER, Manner(2, True, 1)), False),
        ({}, Family.IPV4, ("eth0", 55, OTHER, Manner(3, False)), False),
        ({"peers": (ip_address(OTHER),)}, Family.IPV4, ("eth0", 55, OTHER, Manner(3, False)), True),
        ({"peers": (ip_address(OTHER),)}, Family.IPV4, ("eth0", 55, OTHER, Manner(3, True)), False),
        (OLD, Family.IPV4, ("eth0", 55, OTHER, Manner(2, True, 2, "1111")), True),
        (OLD, Family.IPV4, ("eth0", 55, OTHER, Manner(2, True, 1, "1111")), False),
        (OLD, Family.IPV4, ("eth0", 55, OTHER, Manner(2, True, 2, "2222")), False),
        (OLD, Family.IPV4, ("eth0", 55, OTHER, Manner(2, True, 2)), False),
        (OLD, Family.IPV4, ("eth0", 55, OTHER, Manner(3, True)), False),
    ],
    ids=[
        "multicast",
        "another device",
        "another id",
        "a peer",
        "unicast by no peer",
        "peers of IPv6 only",
        "both families",
        "no IPv4",
        "version 3",
        "version 2 to version 3",
        "unicast to multicast",
        "unicast to unicast",
        "multicast to unicast",
        "version 2",
        "another interval",
        "another password",
        "no password",
        "version 3 to version 2",
    ],
)
def test_adverts_that_are_heeded_tell_that_somebody_speaks(
    changes: dict[str, Any], family: Family, sender: tuple[Any, ...], expected: bool
) -> None:
    (group,) = vrrp_plan(**changes).directing
    assert group.vrrp is not None
    one = PlacedRouter(
        key=RouterKey(GROUP, 55, family),
        router=VirtualRouter(id=55, family=family, priority=100, addresses=(ip_address(VIP),)),
        plan=group.vrrp,
        device="eth0",
        bindings=(AddressBinding(address=ip_address(VIP), device="eth0"),),
    )
    device, number, address, *manner = sender
    found = speakers(one, [Sender(device, number, IPv4Address(address), *manner)])
    assert found.keys() == ({ip_address(OTHER)} if expected else set())
