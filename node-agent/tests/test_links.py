"""Addresses, routes and events on real network namespaces."""

import asyncio
import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from link_namespaces import VIP4, VIP6, binding, routed, with_links

from lvs_agent.decide.changes import BindAddress, LinkChange, UnbindAddress
from lvs_agent.decide.kernel_state import AddressBinding, AddressFamily, KernelLinks, RouteKind
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_agent.errors import AddressRefused, DeviceNotFound
from lvs_agent.kernel.interface import LinkFailure
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.testing import NetworkNamespace


@pytest.fixture
def router(namespace: NetworkNamespace) -> NetworkNamespace:
    return routed(namespace)


def test_reads_devices_addresses_and_default_routes(router: NetworkNamespace) -> None:
    found: KernelLinks = with_links(router, lambda links: links.read())
    assert found.default_devices == {AddressFamily.IPV4: "e0", AddressFamily.IPV6: "e0"}
    assert found.devices["e0"].arp_capable
    assert found.devices["e0"].up
    assert len(found.devices["e0"].hardware_address) == 6
    assert not found.devices["lo"].arp_capable
    assert {(a.device, str(a.address), a.prefix_length) for a in found.addresses} >= {
        ("e0", "172.16.24.1", 24),
        ("e0", "2001:db8:24::1", 64),
        ("e1", "10.1.0.1", 16),
        ("lo", "127.0.0.1", 8),
    }


def test_tells_when_frames_no_longer_get_through_a_device(router: NetworkNamespace) -> None:
    async def work(links: KernelLinksSeam) -> None:
        news = asyncio.Event()
        await links.watch(news.set)
        for state, expected in (("down", False), ("up", True)):
            router.ip("link", "set", "e1p", state)
            async with asyncio.timeout(10):
                while (await links.read()).devices["e1"].carrier is not expected:
                    await news.wait()
                    news.clear()
            assert (await links.read()).devices["e1"].up

    with_links(router, work)


def test_reads_the_next_hops_of_every_table(router: NetworkNamespace) -> None:
    """Also those of several next hops, and IPv6 ones of IPv4 routes."""
    router.ip("route", "add", "10.2.0.0/16", "table", "77", "via", "172.16.24.3")
    router.ip("route", "add", "10.3.0.0/16", "nexthop", "via", "172.16.24.4", "nexthop", "via", "10.1.0.4")
    router.ip("route", "add", "10.4.0.0/16", "via", "inet6", "2001:db8:24::5")
    router.ip("route", "add", "unreachable", "10.5.0.0/16")
    router.ip("nexthop", "add", "id", "1", "via", "172.16.24.6", "dev", "e0")
    router.ip("route", "add", "10.6.0.0/16", "nhid", "1")
    hops = ["nexthop", "via", "2001:db8:24::7", "nexthop", "via", "2001:db8:24::8"]
    router.ip("-6", "route", "add", "2001:db8:7::/48", *hops)
    found = with_links(router, lambda links: links.next_hops())
    fours = {f"172.16.24.{n}" for n in (254, 3, 4, 6)} | {"10.1.0.4"}
    assert {str(one) for one in found} == fours | {f"2001:db8:24::{n}" for n in ("fe", 5, 7, 8)}


def test_next_hops_are_read_again_when_routes_changed(router: NetworkNamespace) -> None:
    async def work(links: KernelLinksSeam) -> None:
        await links.watch(lambda: None)
        first = await links.next_hops()
        assert await links.next_hops() is first
        router.ip("route", "add", "10.2.0.0/16", "via", "172.16.24.3")
        async with asyncio.timeout(10):
            while ip_address("172.16.24.3") not in await links.next_hops():  # noqa: ASYNC110 (the kernel)
                await asyncio.sleep(0.01)

    with_links(router, work)


@pytest.mark.parametrize("device", ["lo", "e0"])
def test_binds_host_addresses_and_takes_only_them_off(router: NetworkNamespace, device: str) -> None:
    wanted = [binding(VIP4, device), binding(VIP6, device)]

    async def bind(links: KernelLinksSeam) -> frozenset[AddressBinding]:
        changes: list[LinkChange] = [BindAddress(binding=b) for b in wanted]
        assert await links.apply(changes) == ()
        assert await links.apply(changes) == ()  # bound already: fine
        return (await links.read()).bindings()

    assert with_links(router, bind) >= set(wanted)
    shown = {a["local"]: a for d in json.loads(router.ip("-j", "addr", "show", "dev", device)) for a in d["addr_info"]}
    assert shown[str(VIP4)]["prefixlen"] == 32
    assert shown[str(VIP6)]["prefixlen"] == 128
    assert shown[str(VIP6)]["nodad"] is True
    assert shown[str(VIP6)]["deprecated"] is True
    assert shown[str(VIP6)]["preferred_life_time"] == 0
    assert shown[str(VIP6)]["valid_life_time"] == 4294967295
    assert "tentative" not in shown[str(VIP6)]

    before = router.ip("-o", "addr")

    async def unbind(links: KernelLinksSeam) -> frozenset[AddressBinding]:
        changes: list[LinkChange] = [UnbindAddress(binding=b) for b in wanted]
        assert await links.apply(changes) == ()
        assert await links.apply(changes) == ()  # gone already: fine
        return (await links.read()).bindings()

    assert not with_links(router, unbind) & set(wanted)
    assert len(router.ip("-o", "addr").splitlines()) == len(before.splitlines()) - 2


def test_a_failing_binding_fails_alone_and_is_named(router: NetworkNamespace) -> None:
    router.run(lambda: Path("/proc/sys/net/ipv6/conf/e1/disable_ipv6").write_text("1", encoding="ascii"))
    bad_device, bad_family, good = binding(VIP4, "nope"), binding(VIP6, "e1"), binding(VIP4, "lo")

    async def work(links: KernelLinksSeam) -> tuple[tuple[LinkFailure, ...], frozenset[AddressBinding]]:
        failures = await links.apply([BindAddress(binding=b) for b in (bad_device, bad_family, good)])
        return failures, (await links.read()).bindings()

    failures, bound = with_links(router, work)
    assert [(f.change.binding, type(f.error)) for f in failures] == [
        (bad_device, DeviceNotFound),
        (bad_family, AddressRefused),
    ]
    assert "nope" in str(failures[0].error)
    assert "disable_ipv6" in str(failures[1].error)
    assert good in bound


@pytest.mark.parametrize(
    ("address", "expected", "on_link"),
    [
        ("172.16.24.8", (RouteKind.UNICAST, "e0", None), True),
        ("10.1.2.3", (RouteKind.UNICAST, "e1", None), True),
        ("198.18.0.1", (RouteKind.UNICAST, "e0", "172.16.24.254"), False),
        ("2001:db8:24::8", (RouteKind.UNICAST, "e0", None), True),
        ("2001:db8:99::8", (RouteKind.UNICAST, "e0", "2001:db8:24::fe"), False),
        ("172.16.24.1", (RouteKind.LOCAL, "lo", None), False),
        ("192.0.2.66", (RouteKind.UNREACHABLE, None, None), False),
    ],
)
def test_routes(
    router: NetworkNamespace, address: str, expected: tuple[RouteKind, str | None, str | None], on_link: bool
) -> None:
    router.ip("route", "add", "unreachable", "192.0.2.0/24")
    route = with_links(router, lambda links: links.route_to(ip_address(address)))
    assert (route.kind, route.device, route.next_hop and str(route.next_hop)) == expected
    assert route.on_link is on_link


def test_a_route_tells_of_its_mtu(router: NetworkNamespace) -> None:
    router.ip("route", "add", "198.18.7.0/24", "via", "172.16.24.254", "mtu", "1400")
    narrow, other = (
        with_links(router, lambda links, to=to: links.route_to(ip_address(to))) for to in ("198.18.7.1", "198.18.0.1")
    )
    assert (narrow.mtu, other.mtu) == (1400, None)
    assert with_links(router, lambda links: links.read()).devices["e0"].mtu == 1500


def test_an_unused_namespace_has_no_routes(namespace: NetworkNamespace) -> None:
    assert with_links(namespace, lambda links: links.route_to(VIP4)).kind is RouteKind.UNREACHABLE
    assert with_links(namespace, lambda links: links.route_to(VIP6)).kind is RouteKind.UNREACHABLE
    assert with_links(namespace, lambda links: links.read()).default_devices == {}


def test_wakes_on_changes_and_then_reads_anew(router: NetworkNamespace) -> None:
    async def work(links: KernelLinksSeam) -> None:
        woken = asyncio.Event()
        await links.watch(woken.set)
        first = await links.read()
        assert await links.read() is first
        for command in (
            ("addr", "add", "172.16.24.99/32", "dev", "e0"),
            ("addr", "del", "172.16.24.99/32", "dev", "e0"),
            ("link", "set", "e1", "down"),
            ("addr", "add", "2001:db8:24::99/128", "dev", "lo"),
        ):
            woken.clear()
            router.ip(*command)
            await asyncio.wait_for(woken.wait(), 5)
            second = await links.read()
            assert second != first
            first = second

    with_links(router, work)


def test_reads_a_change_that_no_callback_has_told_yet(router: NetworkNamespace) -> None:
    async def work(links: KernelLinksSeam) -> None:
        await links.watch(lambda: None)
        await links.read()
        router.ip("addr", "add", "172.16.24.99/32", "dev", "e0")  # blocks the loop: the reader can not have run
        assert binding(ip_address("172.16.24.99"), "e0") in (await links.read()).bindings()

    with_links(router, work)


def test_routes_that_change_leave_the_picture_of_devices_and_addresses(router: NetworkNamespace) -> None:
    async def work(links: KernelLinksSeam) -> None:
        woken = asyncio.Event()
        await links.watch(woken.set)
        first = await links.read()
        router.ip("route", "add", "203.0.113.0/24", "via", "172.16.24.77")
        await asyncio.wait_for(woken.wait(), 5)
        assert await links.read() is first
        router.ip("route", "del", "default")
        second = await links.read()
        assert second.default_devices == {AddressFamily.IPV6: "e0"}
        assert second.devices is first.devices
        router.ip("route", "add", "default", "via", "10.1.0.99")
        router.ip("addr", "add", "172.16.24.99/32", "dev", "e0")
        third = await links.read()
        assert third.default_devices[AddressFamily.IPV4] == "e1"
        assert binding(ip_address("172.16.24.99"), "e0") in third.bindings()

    with_links(router, work)


@pytest.mark.parametrize(
    ("address", "interface", "expected"),
    [
        ("172.16.24.7", None, "e0"),
        ("10.1.2.3", None, "e1"),
        ("198.18.0.7", None, "e0"),
        ("172.16.24.7", "e1", "e1"),
        ("172.16.24.7", "e7", None),
        ("2001:db8:24::7", None, "e0"),
        ("2001:db8:99::7", None, "e0"),
    ],
)
def test_chooses_the_device_of_a_virtual_address(
    router: NetworkNamespace, address: str, interface: str | None, expected: str | None
) -> None:
    found = with_links(router, lambda links: links.read())
    assert choose_vip_device(ip_address(address), found, interface) == expected


def test_without_a_default_route_a_strange_address_has_no_device(namespace: NetworkNamespace) -> None:
    found = with_links(namespace, lambda links: links.read())
    assert choose_vip_device(VIP4, found, None) is None
