"""Network namespaces with devices and routes, and work with links in them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TypeVar

from waiting_for import until

from lvs_agent.decide.kernel_state import AddressBinding, IPAddress
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.testing import NetworkNamespace

VIP4, VIP6 = ip_address("172.16.24.7"), ip_address("2001:db8:24::7")
MINE, THEIRS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
Pair = tuple[NetworkNamespace, NetworkNamespace]
Result = TypeVar("Result")


def binding(address: IPAddress, device: str) -> AddressBinding:
    return AddressBinding(address=address, device=device)


def routed(namespace: NetworkNamespace) -> NetworkNamespace:
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


@contextmanager
def with_neighbour(namespace: NetworkNamespace) -> Iterator[Pair]:
    """e0 in the namespace; its other end e0p, the neighbour's, in one beside it."""
    neighbour = NetworkNamespace(f"{namespace.name}-n")
    neighbour.create()
    try:
        namespace.ip("link", "add", "name", "e0", "address", MINE.hex(":"), "type", "veth", "peer", "name", "e0p")
        namespace.ip("link", "set", "e0p", "address", THEIRS.hex(":"), "netns", neighbour.name)
        namespace.ip("link", "set", "e0", "up")
        neighbour.ip("link", "set", "e0p", "up")
        # The kernel says a moment later that the link runs.
        asyncio.run(until(lambda: "state UP" in namespace.ip("link", "show", "dev", "e0")))
        yield namespace, neighbour
    finally:
        neighbour.delete()


def with_links(namespace: NetworkNamespace, work: Callable[[KernelLinksSeam], Awaitable[Result]]) -> Result:
    async def main() -> Result:
        links = KernelLinksSeam()
        try:
            return await work(links)
        finally:
            await links.close()

    return namespace.run(lambda: asyncio.run(main()))
