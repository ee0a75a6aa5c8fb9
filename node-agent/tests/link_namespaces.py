"""Network namespaces with devices and routes, and work with links in them."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TypeVar

from lvs_agent.decide.kernel_state import AddressBinding, IPAddress
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.testing import NetworkNamespace

VIP4, VIP6 = ip_address("172.16.24.7"), ip_address("2001:db8:24::7")
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


def with_links(namespace: NetworkNamespace, work: Callable[[KernelLinksSeam], Awaitable[Result]]) -> Result:
    async def main() -> Result:
        links = KernelLinksSeam()
        try:
            return await work(links)
        finally:
            await links.close()

    return namespace.run(lambda: asyncio.run(main()))
