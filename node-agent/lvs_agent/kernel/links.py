"""The real devices, addresses and routes, by rtnetlink through pyroute2, and a bare socket that hears of changes."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, NamedTuple, Never

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]  # pyroute2 has no types
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]  # pyroute2 has no types

from lvs_agent.decide.changes import BindAddress, LinkChange
from lvs_agent.decide.kernel_state import (
    HOST_PREFIX_LENGTH,
    IPV6,
    AddressBinding,
    AddressFamily,
    IPAddress,
    KernelLinks,
    Route,
    RouteKind,
)
from lvs_agent.errors import AddressRefused, DeviceNotFound, LinkError, PermissionRefused
from lvs_agent.kernel.interface import LinkFailure
from lvs_agent.kernel.link_messages import IFF_UP, address_name, device_of, interface_address, message_types
from lvs_agent.kernel.netlink_socket import open_netlink
from lvs_agent.kernel.netlink_wire import NLM_F_DUMP_INTR
from lvs_agent.kernel.next_hops import read_next_hops

# linux/if_addr.h, linux/rtnetlink.h
_IFA_F_NODAD = 0x02
_RTM_F_FIB_MATCH = 0x2000
_FOREVER = 0xFFFFFFFF
_NETLINK_ROUTE = 0
# RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE
_WATCHED_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_ROUTE_MESSAGES = {24, 25}  # RTM_NEWROUTE, RTM_DELROUTE
_ROUTE_KINDS = {1: RouteKind.UNICAST, 2: RouteKind.LOCAL, 6: RouteKind.UNREACHABLE, 7: RouteKind.UNREACHABLE}
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.EAFNOSUPPORT, errno.EOPNOTSUPP}
"""The last two where a node was started with ipv6.disable=1 (rtnetlink_rcv_msg in net/core/rtnetlink.c)."""
_DUMPS = 5
_READ_SHARE = 10
"""Routes are dumped again after ten times the time that it took: a large table may change all the time."""
_MADE_ON_DEMAND = {"tunl0": "ipip", "ip6tnl0": "ip6tnl", "gre0": "gre", "ip6gre0": "ip6gre"}
_MODULES = {"ipip": "ipip", "ip6tnl": "ip6_tunnel", "gre": "ip_gre", "ip6gre": "ip6_gre"}
# Addresses for documentation (RFC 5737, RFC 3849, RFC 9637): whichever of a family matches a route of length 0 shows
# the default route, without reading a table that may hold the whole Internet.
_FAR_AWAY = {
    AddressFamily.IPV4: ("192.0.2.1", "198.51.100.1", "203.0.113.1"),
    AddressFamily.IPV6: ("2001:db8::1", "3fff::1"),
}


class _Changes(NamedTuple):
    """How many changes were heard of: of devices and addresses, ours among them, and of routes."""

    links: int
    routes: int

    def and_links(self) -> "_Changes":
        return self._replace(links=self.links + 1)

    def and_routes(self) -> "_Changes":
        return self._replace(routes=self.routes + 1)


class KernelLinksSeam:
    """`Links` on the network namespace in which it is made; to be used from one event loop."""

    def __init__(self) -> None:
        self._iproute: AsyncIPRoute | None = None
        self._watch: socket.socket | None = None
        self._wake: Callable[[], None] | None = None
        self._last: KernelLinks | None = None
        self._changes = _Changes(0, 0)
        self._seen = self._changes
        """The changes that the last picture takes into account."""
        self._next_hops: frozenset[IPAddress] | None = None
        self._next_hops_seen = self._changes
        self._next_dump = 0.0

    async def read(self, *, fresh: bool = False) -> KernelLinks:
        """Every device and address. A change that comes meanwhile counts for the next call.

        Routes alone may change all the time, where a routing daemon runs: then only the default routes are asked for.
        """
        self._hear()
        before, last = self._changes, self._last
        try:
            if last is None or fresh or self._watch is None or self._seen.links != before.links:
                last = await self._read()
            elif self._seen.routes != before.routes:
                last = await self._with_defaults(last)
        except OSError as error:
            raise LinkError(f"reading devices and addresses: {error.strerror or error}") from error
        self._last, self._seen = last, before
        return last

    async def apply(self, changes: Sequence[LinkChange]) -> tuple[LinkFailure, ...]:
        """Bind and unbind, one by one, in order."""
        failures: list[LinkFailure] = []
        for change in changes:
            try:
                await self._carry_out(change)
            except LinkError as error:
                failures.append(LinkFailure(change=change, error=error))
        self._changes = self._changes.and_links()
        return tuple(failures)

    async def route_to(self, address: IPAddress) -> Route:
        """What the kernel would do with a packet to the address."""
        try:
            answer = (await self._ip().route("get", dst=str(address)))[0]
        except NetlinkError as error:
            if error.code in _NO_ROUTE:
                return Route(kind=RouteKind.UNREACHABLE)
            raise LinkError(f"route to {address}: {os.strerror(error.code)}") from error
        except OSError as error:
            raise LinkError(f"route to {address}: {error.strerror or error}") from error
        via = answer.get("via") or {}
        metrics = answer.get("metrics")
        next_hop, source = answer.get("gateway") or via.get("addr"), answer.get("prefsrc")
        return Route(
            kind=_ROUTE_KINDS.get(answer["type"], RouteKind.OTHER),
            device=_name_of(answer.get("oif")),
            # A route of ours may name the address itself: that is on link (`decide.former_routes`).
            next_hop=ip_address(next_hop) if next_hop and ip_address(next_hop) != address else None,
            source=ip_address(source) if source else None,
            mtu=metrics.get("mtu") if metrics else None,
        )

    async def next_hops(self) -> frozenset[IPAddress]:
        """The next hops of every route."""
        self._hear()
        began, before, known = time.monotonic(), self._changes, self._next_hops
        if (
            self._watch is not None
            and known is not None
            and (self._next_hops_seen == before or began < self._next_dump)
        ):
            return known
        found = await asyncio.to_thread(read_next_hops)
        self._next_hops, self._next_hops_seen = found, before
        now = time.monotonic()
        self._next_dump = now + _READ_SHARE * (now - began)
        return found

    async def watch(self, wake: Callable[[], None]) -> None:
        """From now on call `wake` whenever a device, an address or a route changes."""
        self._wake = wake
        if self._watch is None:
            self._watch = open_netlink(_NETLINK_ROUTE, _WATCHED_GROUPS)
            asyncio.get_running_loop().add_reader(self._watch, self._hear)
            self._changes = self._changes.and_links()

    async def close(self) -> None:
        """Stop watching and release the sockets."""
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch)
            self._watch.close()
            self._watch = None
        if self._iproute is not None:
            self._iproute.close()
            self._iproute = None

    def _ip(self) -> AsyncIPRoute:
        if self._iproute is None:
            self._iproute = AsyncIPRoute()
        return self._iproute

    def _hear(self) -> None:
        """Empty the watching socket; after an overflow (ENOBUFS) anything may have changed."""
        before = self._changes
        while self._watch is not None:
            try:
                heard = self._watch.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                heard = b""
            only_routes = bool(heard) and message_types(heard) <= _ROUTE_MESSAGES
            self._changes = self._changes.and_routes() if only_routes else self._changes.and_links()
        if self._changes != before and self._wake is not None:
            self._wake()

    async def _read(self) -> KernelLinks:
        try:
            devices = [device_of(link) for link in await self._dump(self._ip().link, lambda link: link["index"])]
            names = {device.index: device.name for device in devices}
            found = [
                interface_address(address, names[address["index"]])
                for address in await self._dump(self._ip().addr, address_name)
                if address["index"] in names
            ]
        except NetlinkError as error:
            raise LinkError(f"reading devices and addresses: {os.strerror(error.code)}") from error
        return KernelLinks(
            devices={device.name: device for device in devices},
            addresses=frozenset(found),
            default_devices=await self._default_devices(names),
        )

    async def _dump(self, what: Callable[[str], Any], name_of: Callable[[Any], Hashable]) -> list[Any]:
        """Every message of a dump.

        A change meanwhile may have made it skip others, of which the kernel tells and pyroute2 0.9 does not. Then it is
        made again; while changes go on and on, what several dumps say together is all. What went will be heard of.
        """
        found: dict[Hashable, Any] = {}
        for _ in range(_DUMPS):
            messages = [message async for message in await what("dump")]
            if not any(message["header"]["flags"] & NLM_F_DUMP_INTR for message in messages):
                return messages
            found |= {name_of(message): message for message in messages}
        return list(found.values())

    async def _with_defaults(self, known: KernelLinks) -> KernelLinks:
        """The same with its default routes as they are now; the same object where they are as they were."""
        defaults = await self._default_devices({device.index: device.name for device in known.devices.values()})
        return known if defaults == known.default_devices else replace(known, default_devices=defaults)

    async def _default_devices(self, names: Mapping[int, str]) -> dict[AddressFamily, str]:
        found = {family: await self._default_device(family, names) for family in AddressFamily}
        return {family: name for family, name in found.items() if name is not None}

    async def _default_device(self, family: AddressFamily, names: Mapping[int, str]) -> str | None:
        for far in _FAR_AWAY[family]:
            try:
                answer = (await self._ip().route("get", dst=far, flags=_RTM_F_FIB_MATCH))[0]
            except NetlinkError as error:
                if error.code in _NO_ROUTE:
                    return None
                raise LinkError(f"default route of {family.word}: {os.strerror(error.code)}") from error
            if answer["dst_len"] == 0 and answer["type"] == 1:
                hops = answer.get("multipath") or []
                return names.get(answer.get("oif") or (hops[0]["oif"] if hops else 0))
        return None

    async def _carry_out(self, change: LinkChange) -> None:
        binding = change.binding
        try:
            if isinstance(change, BindAddress):
                await self._bind(binding)
            else:
                await self._unbind(binding)
        except NetlinkError as error:
            _map_error(change, error)
        except OSError as error:
            raise LinkError(f"{_what(change)}: {error.strerror or error}") from error

    async def _bind(self, binding: AddressBinding) -> None:
        index = await self._index(binding.device, make=True)
        arguments: dict[str, Any] = {}
        if binding.address.version == IPV6:
            # No duplicate detection: the agent probes by itself, and on a shared VIP it would always fail.
            # A preferred lifetime of 0 keeps the node from choosing the VIP as a source.
            arguments = {"flags": _IFA_F_NODAD, "preferred_lft": 0, "valid_lft": _FOREVER}
        try:
            await self._ip().addr(
                "add",
                index=index,
                address=str(binding.address),
                prefixlen=HOST_PREFIX_LENGTH[binding.address.version],
                **arguments,
            )
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise

    async def _unbind(self, binding: AddressBinding) -> None:
        try:
            index = socket.if_nametoindex(binding.device)
        except OSError:
            return  # the device is gone, and its addresses with it
        try:
            await self._ip().addr(
                "del",
                index=index,
                address=str(binding.address),
                prefixlen=HOST_PREFIX_LENGTH[binding.address.version],
            )
        except NetlinkError as error:
            if error.code not in {errno.EADDRNOTAVAIL, errno.ENODEV}:
                raise

    async def _index(self, device: str, *, make: bool) -> int:
        """The device's number. A tunnel device is made by loading its module, which asking for its kind does."""
        kind = _MADE_ON_DEMAND.get(device)
        if kind is not None and make and not _exists(device):
            await self._make(device, kind)
        try:
            index = socket.if_nametoindex(device)
        except OSError as error:
            raise DeviceNotFound(f"there is no network device {device}") from error
        if kind is not None and not (await self._ip().link("get", index=index))[0]["flags"] & IFF_UP:
            await self._ip().link("set", index=index, state="up")
        return index

    async def _make(self, device: str, kind: str) -> None:
        try:
            await self._ip().link("add", ifname=device, kind=kind)
        except NetlinkError as error:
            if error.code == errno.EEXIST:
                return  # loading the module made it
            if error.code == errno.EPERM:
                raise
            raise DeviceNotFound(
                f"{device} does not exist and the kernel could not make it ({os.strerror(error.code)}): "
                f"load the module {_MODULES[kind]} on this node"
            ) from error


def _exists(device: str) -> bool:
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


def _name_of(index: int | None) -> str | None:
    if index is None:
        return None
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None  # the device went since the answer


def _what(change: LinkChange) -> str:
    verb = "bind" if isinstance(change, BindAddress) else "unbind"
    return f"{verb} {change.binding.address} on {change.binding.device}"


def _map_error(change: LinkChange, error: NetlinkError) -> Never:
    what = _what(change)
    if error.code == errno.EPERM:
        raise PermissionRefused(f"{what}: the agent needs CAP_NET_ADMIN") from error
    if error.code == errno.ENODEV:
        raise DeviceNotFound(f"{what}: the device is gone") from error
    if error.code == errno.EACCES and change.binding.address.version == IPV6:
        hint = f"IPv6 is disabled there: see net.ipv6.conf.{change.binding.device}.disable_ipv6"
        raise AddressRefused(f"{what}: {hint}") from error
    raise AddressRefused(f"{what}: {os.strerror(error.code)}") from error
