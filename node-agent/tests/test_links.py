"""Addresses, routes and events on real network namespaces."""

import asyncio
import errno
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from lvs_agent.decide.changes import BindAddress, LinkChange, UnbindAddress
from lvs_agent.decide.kernel_state import AddressBinding, AddressFamily, IPAddress, KernelLinks, RouteKind
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_agent.errors import AddressRefused, DeviceNotFound, LinkError
from lvs_agent.kernel import links as links_module
from lvs_agent.kernel.interface import LinkFailure
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.testing import NetworkNamespace

Result = TypeVar("Result")

VIP4, VIP6 = ip_address("172.16.24.7"), ip_address("2001:db8:24::7")


def binding(address: IPAddress, device: str) -> AddressBinding:
    return AddressBinding(address=address, device=device)


@pytest.fixture
def router(namespace: NetworkNamespace) -> NetworkNamespace:
    """Two Ethernet devices in the namespace, addresses of both families, a default route through the first."""
    for device in ("e0", "e1"):
        namespace.ip("link", "add", "name", device, "type", "veth", "peer", "name", f"{device}p")
        namespace.ip("link", "set", device, "up")
        namespace.ip("link", "set", f"{device}p", "up")
    namespace.ip("addr", "add", "172.16.24.1/24", "dev", "e0")
    namespace.ip("addr", "add", "2001:db8:24::1/64", "dev", "e0", "nodad")
    namespace.ip("addr", "add", "10.1.0.1/16", "dev", "e1")
    namespace.ip("route", "add", "default", "via", "172.16.24.254")
    namespace.ip("-6", "route", "add", "default", "via", "2001:db8:24::fe")
    return namespace


def with_links(namespace: NetworkNamespace, work: Callable[[KernelLinksSeam], Awaitable[Result]]) -> Result:
    async def main() -> Result:
        links = KernelLinksSeam()
        try:
            return await work(links)
        finally:
            await links.close()

    return namespace.run(lambda: asyncio.run(main()))


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


@pytest.mark.parametrize("fresh", [False, True])
def test_a_change_that_comes_while_all_is_read_is_not_lost(router: NetworkNamespace, fresh: bool) -> None:
    """The dump of addresses is over, and the picture is not whole yet, when an address goes."""
    gone = binding(ip_address("172.16.24.99"), "e0")

    async def work(links: KernelLinksSeam) -> tuple[bool, int]:
        woken = asyncio.Event()
        await links.watch(woken.set)
        router.ip("addr", "add", "172.16.24.99/32", "dev", "e0")
        assert gone in (await links.read()).bindings()
        woken.clear()
        links._iproute = ChangedInBetween(links._ip(), woken, lambda: router.ip(*REMOVE))
        if not fresh:
            await links.apply([])  # after changes of our own all is read anew
        await links.read(fresh=fresh)
        assert woken.is_set()
        return gone in (await links.read()).bindings(), len(links._iproute.removed)

    assert with_links(router, work) == (False, 1)


REMOVE = ("addr", "del", "172.16.24.99/32", "dev", "e0")


class ChangedInBetween:
    """A connection that looks for a route only after somebody has changed something and the event of it was heard."""

    def __init__(self, real: Any, heard: asyncio.Event, change: Callable[[], object]) -> None:
        self._real = real
        self._heard = heard
        self._change = change
        self.removed: list[object] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def route(self, command: str, **request: Any) -> Any:
        if not self.removed:
            self.removed.append(self._change())
            await asyncio.wait_for(self._heard.wait(), 5)
        return await self._real.route(command, **request)


@pytest.mark.parametrize("times", [1, 99])
def test_an_interrupted_dump_is_not_taken_for_all(router: NetworkNamespace, times: int) -> None:
    """After an address went the kernel goes on by position, and skips one that is there (inet_dump_ifaddr)."""
    addresses = [f"10.7.{number // 250}.{number % 250}" for number in range(1200)]
    in_batch(router, *(f"addr add {address}/32 dev e1" for address in addresses))

    async def work(links: KernelLinksSeam) -> tuple[set[str], int]:
        going = iter(addresses[:times])
        links._iproute = dumps = InterruptedDumps(
            links._ip(), lambda: (gone := next(going, None)) and router.ip("addr", "del", f"{gone}/32", "dev", "e1")
        )
        found = {str(a.address) for a in (await links.read()).addresses if a.device == "e1"}
        return found, dumps.made

    found, made = with_links(router, work)
    assert found >= set(addresses[min(times, made) :])
    assert made == 2 if times == 1 else made > 2


def in_batch(namespace: NetworkNamespace, *commands: str) -> None:
    subprocess.run(["ip", "-n", namespace.name, "-batch", "-"], input="\n".join(commands), text=True, check=True)


class InterruptedDumps:
    """A connection on which somebody changes something once each dump of addresses has begun."""

    def __init__(self, real: Any, change: Callable[[], object]) -> None:
        self._real = real
        self._change = change
        self.made = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def addr(self, command: str) -> Any:
        messages = await self._real.addr(command)
        self.made += 1

        async def interrupted() -> AsyncIterator[Any]:
            yield await anext(messages)
            self._change()
            async for message in messages:
                yield message

        return interrupted()


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


class NoIpv6:
    """What rtnetlink says on a node that was started with ipv6.disable=1."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def route(self, command: str, **request: Any) -> Any:
        if ":" in request["dst"]:
            raise NetlinkError(errno.EOPNOTSUPP)
        return await self._real.route(command, **request)


def test_a_node_without_ipv6_still_has_ipv4(router: NetworkNamespace) -> None:
    async def work(links: KernelLinksSeam) -> tuple[KernelLinks, RouteKind]:
        links._iproute = NoIpv6(links._ip())
        return await links.read(), (await links.route_to(ip_address("2001:db8:24::9"))).kind

    read, kind = with_links(router, work)
    assert read.default_devices == {AddressFamily.IPV4: "e0"}
    assert kind is RouteKind.UNREACHABLE


async def nothing(*_: object) -> None:
    """The module is loaded and the device is gone again."""


def test_a_device_that_goes_while_it_is_made_is_named(
    namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(links_module._MADE_ON_DEMAND, "gone0", "ipip")
    monkeypatch.setattr(KernelLinksSeam, "_make", nothing)
    (failure,) = with_links(namespace, lambda links: links.apply([BindAddress(binding=binding(VIP4, "gone0"))]))
    assert type(failure.error) is DeviceNotFound


class NoSockets:
    """What a node without file descriptors answers."""

    async def link(self, *_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    addr = route = link


def test_a_lack_of_file_descriptors_is_an_error_of_the_seam(namespace: NetworkNamespace) -> None:
    async def work(links: KernelLinksSeam) -> tuple[LinkFailure, ...]:
        real = links._ip()
        links._iproute = NoSockets()
        with pytest.raises(LinkError, match="Too many open files"):
            await links.read()
        with pytest.raises(LinkError, match="Too many open files"):
            await links.route_to(VIP4)
        failures = await links.apply([BindAddress(binding=binding(VIP4, "lo"))])
        links._iproute = real
        return failures

    (failure,) = with_links(namespace, work)
    assert str(failure.error) == f"bind {VIP4} on lo: Too many open files"
