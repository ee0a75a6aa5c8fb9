"""The real host routes of ours, by rtnetlink through pyroute2."""

import errno
import os
import socket
from ipaddress import ip_address
from typing import Any, Final, Never

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]  # pyroute2 has no types
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]  # pyroute2 has no types

from lvs_agent.decide.kernel_state import HOST_PREFIX_LENGTH, HostRoute
from lvs_agent.errors import AddressRefused, DeviceNotFound, LinkError, PermissionRefused

PROTOCOL: Final = 76
"""rtm_protocol of our routes; free in iproute2's rt_protos and in linux/rtnetlink.h."""
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


class KernelHostRoutes:
    """`HostRoutes` on the network namespace in which it is first used; from one event loop."""

    def __init__(self) -> None:
        self._iproute: AsyncIPRoute | None = None

    async def read(self) -> frozenset[HostRoute]:
        """Ours alone: with strict checking the kernel picks by protocol, however many routes there are."""
        found: set[HostRoute] = set()
        for version, family in _FAMILIES.items():
            try:
                async for route in await self._ip().route("dump", family=family, proto=PROTOCOL):
                    device = _name_of(route.get("oif"))
                    if route["dst_len"] == HOST_PREFIX_LENGTH[version] and device is not None:
                        found.add(HostRoute(address=ip_address(route.get("dst")), device=device))
            except NetlinkError as error:
                raise LinkError(f"reading routes: {os.strerror(error.code)}") from error
            except OSError as error:
                raise LinkError(f"reading routes: {error.strerror or error}") from error
        return frozenset(found)

    async def add(self, route: HostRoute) -> None:
        """Make one, through the address itself."""
        try:
            await self._ip().route("add", gateway=str(route.address), flags=["onlink"], **_request(route))
        except NetlinkError as error:
            _refuse(f"route to {route.address} on {route.device}", error)
        except OSError as error:
            raise LinkError(f"route to {route.address} on {route.device}: {error.strerror or error}") from error

    async def remove(self, route: HostRoute) -> None:
        """Take it away."""
        try:
            await self._ip().route("del", **_request(route))
        except NetlinkError as error:
            if error.code not in {errno.ESRCH, errno.ENODEV}:
                _refuse(f"removing the route to {route.address} on {route.device}", error)
        except OSError as error:
            raise LinkError(f"removing the route to {route.address}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Release the socket."""
        if self._iproute is not None:
            self._iproute.close()
            self._iproute = None

    def _ip(self) -> AsyncIPRoute:
        if self._iproute is None:
            self._iproute = AsyncIPRoute(strict_check=True)
        return self._iproute


def _request(route: HostRoute) -> dict[str, Any]:
    try:
        index = socket.if_nametoindex(route.device)
    except OSError as error:
        raise DeviceNotFound(f"there is no network device {route.device}") from error
    return {
        "family": _FAMILIES[route.address.version],
        "dst": f"{route.address}/{HOST_PREFIX_LENGTH[route.address.version]}",
        "oif": index,
        "proto": PROTOCOL,
    }


def _name_of(index: int | None) -> str | None:
    if index is None:
        return None
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None  # the device went since the answer, and its routes with it


def _refuse(what: str, error: NetlinkError) -> Never:
    if error.code == errno.EPERM:
        raise PermissionRefused(f"{what}: the agent needs CAP_NET_ADMIN") from error
    if error.code == errno.EEXIST:
        raise AddressRefused(f"{what}: somebody else has a route to just this address") from error
    raise AddressRefused(f"{what}: {os.strerror(error.code)}") from error
