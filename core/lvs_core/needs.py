"""Which VIPs a real-server node has to carry, and where."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lvs_api.bind_device import MAX_GUE_PORTS, BindDevice
from lvs_api.lvs_node import NodeAddress
from lvs_api.network_types import Family, Forwarding, ForwardingMethod, TunnelType
from lvs_core import frontends
from lvs_core.cluster_view import Member, ObjectKey, Slice, SliceContent, family_of
from lvs_core.crossing import served_families
from lvs_core.frontends import Frontend


class Need(NamedTuple):
    """A node must carry a VIP on a device."""

    node: str
    address: str
    device: BindDevice
    port: int = 0
    """With GUE the UDP port at which packets for the device come in; else 0."""


_UNWRAPPING = {
    (TunnelType.IPIP, Family.IPV4): BindDevice.TUNL0,
    (TunnelType.IPIP, Family.IPV6): BindDevice.IP6TNL0,
    (TunnelType.GRE, Family.IPV4): BindDevice.GRE0,
    (TunnelType.GRE, Family.IPV6): BindDevice.IP6GRE0,
    (TunnelType.GUE, Family.IPV4): BindDevice.TUNL0,
    (TunnelType.GUE, Family.IPV6): BindDevice.IP6TNL0,
}
"""What comes by GUE is plain IP in IP once it has left UDP (gue_udp_recv in net/ipv4/fou_core.c)."""


def device_for(method: ForwardingMethod, tunnel: TunnelType | None, family: Family) -> BindDevice | None:
    """Where a real server carries a VIP; None where it needs none. `tunnel` counts for Tunnel only; None is IPIP.

    Under Tunnel it is the device that unwraps, for the kernel's reverse-path check drops what comes in by a device
    without an IPv4 address even in loose mode.
    """
    if method is ForwardingMethod.MASQUERADE:
        return None
    if method is ForwardingMethod.DIRECT_ROUTING:
        return BindDevice.LO
    return _UNWRAPPING[tunnel or TunnelType.IPIP, family]


def device_of(forwarding: Forwarding, address: str) -> BindDevice | None:
    """Where a real server of this address that is so reached carries VIPs."""
    tunnel = forwarding.tunnel
    return device_for(forwarding.method, None if tunnel is None else tunnel.type, family_of(address))


def port_of(forwarding: Forwarding) -> int:
    """The UDP port at which packets so reach a real server; 0 where they do not come in UDP."""
    return forwarding.tunnel.port or 0 if forwarding.tunnel is not None else 0


def needs_for(node: str, address: str, forwarding: Forwarding, service: Frontend) -> Iterator[Need]:
    """What a node needs as a member with this address: the VIPs whose packets come to it."""
    device = device_of(forwarding, address)
    if device is not None:
        served = served_families(address, forwarding, frontends.families(service))
        for vip in frontends.vips(service):
            if family_of(vip) in served:
                yield Need(node, vip, device, port_of(forwarding))


def told_needs(node: str, addresses: Iterable[NodeAddress] | None) -> Iterator[Need]:
    """What an LvsNode's spec asks of a node; where ports are named, also the VIP on its device by itself."""
    for one in addresses or ():
        yield Need(node, one.address, one.device)
        for port in one.gue_ports or ():
            yield Need(node, one.address, one.device, port)


def node_addresses(needs: Iterable[Need]) -> list[NodeAddress] | None:
    """The same the other way round, of one node. An entry names the first ports, if it can not name all."""
    ports: dict[tuple[str, BindDevice], set[int]] = {}
    for need in needs:
        named = ports.setdefault((need.address, need.device), set())
        if need.port and len(named) < MAX_GUE_PORTS:
            named.add(need.port)
    return [
        NodeAddress.model_construct(address=address, device=device, gue_ports=sorted(named) or None)
        for (address, device), named in sorted(ports.items())
    ] or None


def member_needs(member: Member, service: Frontend) -> Iterator[Need]:
    """What a member of a slice needs, by its method and by the former one."""
    if member.node is None or member.refused is not None:
        return
    yield from needs_for(member.node, member.address, member.forwarding, service)
    if member.former is not None:
        yield from needs_for(member.node, member.address, member.former.forwarding, service)


def slices_needs(slices: Iterable[Slice]) -> Iterator[tuple[Need, ObjectKey, Member]]:
    """What the members of slices need, by service."""
    return contents_needs((one.service_key, one.content) for one in slices)


def contents_needs(contents: Iterable[tuple[ObjectKey, SliceContent]]) -> Iterator[tuple[Need, ObjectKey, Member]]:
    """What the members of services' slices need. A service whose first slice is missing names no VIPs."""
    ordered = list(contents)
    known = {(key, content.service_uid): content.service for key, content in ordered if content.service is not None}
    for key, content in ordered:
        service = known.get((key, content.service_uid))
        if service is None:
            continue
        for member in content.members:
            for need in member_needs(member, service):
                yield need, key, member
