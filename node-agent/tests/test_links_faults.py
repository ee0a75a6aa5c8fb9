"""Links on real network namespaces where a kernel or a machine lacks something, or changes meanwhile."""

import asyncio
import errno
import subprocess
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any

import pytest
from link_namespaces import VIP4, binding, routed, with_links
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]  # pyroute2 has no types

from lvs_agent.decide.changes import BindAddress
from lvs_agent.decide.kernel_state import AddressFamily, KernelLinks, RouteKind
from lvs_agent.errors import DeviceNotFound, LinkError
from lvs_agent.kernel import links as links_module
from lvs_agent.kernel.interface import LinkFailure
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.testing import NetworkNamespace


@pytest.fixture
def router(namespace: NetworkNamespace) -> NetworkNamespace:
    return routed(namespace)


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
