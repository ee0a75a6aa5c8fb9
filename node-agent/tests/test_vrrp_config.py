"""keepalived.conf as it is rendered, held against files; and texts that must not get into it."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from lvs_agent.decide.kernel_state import AddressBinding, AddressFamily, Device, InterfaceAddress, KernelLinks
from lvs_agent.decide.virtual_routers import RouterKey, WantedVrrp, router_key
from lvs_agent.decide.vrrp_config import MAX_ADVERTISED, Unwritable, VrrpPlaces, place_routers, render_vrrp
from lvs_api.network_types import Family
from lvs_core.plan import DirectorPlan, Holding
from lvs_core.vrrp import VirtualRouter, VrrpPlan

PLACES = VrrpPlaces(notify_fifo="/run/lvs-agent/vrrp/notify", tracks="/run/lvs-agent/vrrp/track")
GOLDEN = Path(__file__).parent / "data" / "vrrp"
LINKS = KernelLinks(
    devices={
        name: Device(name=name, kind="veth", index=number, arp_capable=True, up=True)
        for number, name in enumerate(("eth0", "eth1"), 2)
    },
    addresses=frozenset(
        InterfaceAddress(device=device, address=ip_address(address), prefix_length=length)
        for device, address, length in (
            ("eth0", "192.168.65.2", 24),
            ("eth0", "2001:db8:65::2", 64),
            ("eth1", "10.0.0.1", 24),
        )
    ),
    default_devices={AddressFamily.IPV4: "eth0"},
)


def router(number: int, priority: int, *addresses: str) -> VirtualRouter:
    parsed = tuple(ip_address(address) for address in addresses)
    family = Family.IPV6 if parsed[0].version == 6 else Family.IPV4
    return VirtualRouter(id=number, family=family, priority=priority, addresses=parsed)


def plan(*routers: VirtualRouter, **changes: Any) -> VrrpPlan:
    made = VrrpPlan(
        version=3,
        advert_interval_milliseconds=1000,
        preempt_delay_seconds=None,
        peers=(),
        own=(),
        password=None,
        tracked_interfaces=(),
        routers=routers,
    )
    return replace(made, **changes)


def group(vrrp: VrrpPlan, name: str = "default", interface: str | None = None) -> DirectorPlan:
    return DirectorPlan(
        group=name,
        view_digest="",
        holding=Holding.VRRP,
        interface=interface,
        addresses=(),
        services=(),
        vrrp=vrrp,
    )


MANY = [f"192.168.65.{number}" for number in range(100, 100 + MAX_ADVERTISED + 2)]
CASES: dict[str, list[DirectorPlan]] = {
    "one-address": [group(plan(router(55, 150, "192.168.65.127"), preempt_delay_seconds=0))],
    "version-2-with-password": [
        group(
            plan(
                router(55, 100, "192.168.65.127"),
                router(55, 100, "2001:db8:65::127"),
                version=2,
                password="1111",
                preempt_delay_seconds=60,
            )
        )
    ],
    "both-families-unicast": [
        group(
            plan(
                router(7, 200, "192.168.65.127"),
                router(7, 200, "2001:db8:65::127"),
                advert_interval_milliseconds=100,
                own=(ip_address("192.168.65.2"), ip_address("2001:db8:65::2")),
                peers=tuple(map(ip_address, ("192.168.65.3", "192.168.65.4", "2001:db8:65::3"))),
            )
        )
    ],
    "spread-over-two-groups": [
        group(plan(router(55, 150, "192.168.65.127", "192.168.65.128"), router(56, 100, "192.168.65.125"))),
        group(plan(router(57, 254, "10.0.0.9"), advert_interval_milliseconds=2500), "inner.nat"),
    ],
    "tracked-interfaces": [
        group(plan(router(1, 1, "192.168.65.9", "10.0.0.9"), tracked_interfaces=("eth0", "eth1")), interface=None)
    ],
    "more-than-an-advert-names": [group(plan(router(255, 10, *MANY)))],
}


def rendered(directors: list[DirectorPlan], node: str = "director-1") -> WantedVrrp:
    wanted = render_vrrp(node, place_routers(directors, LINKS, {}), PLACES)
    assert isinstance(wanted, WantedVrrp), str(wanted)
    return wanted


@pytest.mark.parametrize("name", CASES)
def test_the_configuration(name: str) -> None:
    assert rendered(CASES[name]).text == (GOLDEN / f"{name}.conf").read_text(encoding="ascii")


def test_what_it_may_bind_is_told_beside_it() -> None:
    wanted = rendered(CASES["tracked-interfaces"])
    assert wanted.binds == {
        AddressBinding(address=ip_address("192.168.65.9"), device="eth0"),
        AddressBinding(address=ip_address("10.0.0.9"), device="eth1"),
    }
    assert len(rendered(CASES["more-than-an-advert-names"]).binds) == len(MANY)


def test_without_virtual_routers_there_is_no_configuration() -> None:
    assert rendered([]) == WantedVrrp()
    assert rendered([]).is_empty
    homeless = replace(LINKS, default_devices={}, addresses=frozenset())
    assert place_routers(CASES["one-address"], homeless, {}) == ()


def test_it_is_spoken_on_the_link_of_the_vips() -> None:
    """A gateway's address on another link moves along."""
    director = group(plan(router(1, 1, "10.0.0.9", "192.168.65.9")))
    (alone,) = place_routers([director], LINKS, {})
    assert alone.device == "eth1"
    (placed,) = place_routers([replace(director, addresses=(ip_address("192.168.65.9"),))], LINKS, {})
    assert placed.device == "eth0"


def test_the_interface_of_the_vips_is_not_that_of_a_gateway() -> None:
    """Its real servers would not hear who has it from now on."""
    director = group(plan(router(1, 1, "10.0.0.9", "192.168.65.9")), interface="eth0")
    (placed,) = place_routers([replace(director, addresses=(ip_address("192.168.65.9"),))], LINKS, {})
    assert {(str(one.address), one.device) for one in placed.bindings} == {
        ("10.0.0.9", "eth1"),
        ("192.168.65.9", "eth0"),
    }
    assert placed.device == "eth0"


def test_addresses_stay_on_the_device_where_they_have_been() -> None:
    vip = ip_address("192.168.65.127")
    without = replace(LINKS, addresses=frozenset())
    (moved,) = place_routers(CASES["one-address"], without, {})
    assert moved.device == "eth0"
    (kept,) = place_routers(CASES["one-address"], without, {vip: "eth1"})
    assert kept.device == "eth1"
    told = replace(group(plan(router(1, 1, str(vip))), interface="eth0"), addresses=(vip,))
    (named,) = place_routers([told], LINKS, {vip: "eth1"})
    assert named.device == "eth0"


@pytest.mark.parametrize(
    ("node", "changes", "said"),
    [
        ("director 1", {}, "'director 1'"),
        ("director}", {}, "'director}'"),
        ("d", {"password": 'x"y'}, "password of LvsDirectorGroup default"),
        ("d", {"password": "a b"}, "password"),
        ("d", {"password": "a#b"}, "password"),
        ("d", {"password": "a!b"}, "password"),
        ("d", {"password": "$A"}, "password"),
        ("d", {"password": "123456789"}, "password"),
        ("d", {"password": ""}, "password"),
        ("d", {"tracked_interfaces": ("eth0 weight 5",)}, "'eth0 weight 5'"),
        ("d", {"tracked_interfaces": ("eth0\n}",)}, "of LvsDirectorGroup default"),
        ("d", {"tracked_interfaces": ("@eth0",)}, "'@eth0'"),
        ("d", {"tracked_interfaces": ("a234567890123456",)}, "'a234567890123456'"),
    ],
)
def test_no_text_gets_in_that_the_configuration_can_not_hold(node: str, changes: dict[str, Any], said: str) -> None:
    directors = [group(plan(router(55, 150, "192.168.65.127"), version=2, **changes))]
    fault = render_vrrp(node, place_routers(directors, LINKS, {}), PLACES)
    assert isinstance(fault, Unwritable)
    assert said in str(fault)
    assert changes.get("password") in {None, ""} or str(changes["password"]) not in str(fault)


def test_a_directory_with_a_strange_name_is_refused() -> None:
    places = VrrpPlaces(notify_fifo="/run/a b/notify", tracks="/run/a b/track")
    fault = render_vrrp("d", place_routers(CASES["one-address"], LINKS, {}), places)
    assert isinstance(fault, Unwritable)
    assert "--vrrp-dir" in str(fault)


@pytest.mark.parametrize(
    "key",
    [
        RouterKey("default", 1, Family.IPV4),
        RouterKey("a.b-c.d2", 255, Family.IPV6),
        RouterKey("1.2v4", 34, Family.IPV4),
    ],
)
def test_a_name_tells_its_virtual_router(key: RouterKey) -> None:
    assert router_key(str(key)) == key


@pytest.mark.parametrize(
    "name", ["", "default", "default.0v4", "default.256v4", "default.1v5", "x/y.1v4", "VI_1", "a..1v4x"]
)
def test_other_names_tell_none(name: str) -> None:
    assert router_key(name) is None
