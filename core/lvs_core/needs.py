"""Which VIPs a real-server node has to carry, and where."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lvs_api.lvs_node import BindDevice
from lvs_api.network_types import Family, ForwardingMethod
from lvs_core import frontends
from lvs_core.cluster_view import Member, ObjectKey, Slice, SliceContent, family_of


class Need(NamedTuple):
    """A node must carry a VIP on a device."""

    node: str
    address: str
    device: BindDevice


def device_for(method: ForwardingMethod, family: Family) -> BindDevice | None:
    """Where a real server carries a VIP; None where it needs none.

    Under Tunnel it is the device that unwraps, for the kernel's reverse-path check drops what comes in by a device
    without an IPv4 address even in loose mode.
    """
    if method is ForwardingMethod.MASQUERADE:
        return None
    if method is ForwardingMethod.DIRECT_ROUTING:
        return BindDevice.LO
    return BindDevice.TUNL0 if family is Family.IPV4 else BindDevice.IP6TNL0


def needs_for(node: str, address: str, method: ForwardingMethod, vips: Iterable[str]) -> Iterator[Need]:
    """What a node needs as a member with this address: the VIPs of the address's own family."""
    family = family_of(address)
    device = device_for(method, family)
    if device is not None:
        for vip in vips:
            if family_of(vip) is family:
                yield Need(node, vip, device)


def member_needs(member: Member, vips: Iterable[str]) -> Iterator[Need]:
    """What a member of a slice needs, by its method and by the former one."""
    if member.node is None or member.refused is not None:
        return
    vips = tuple(vips)
    yield from needs_for(member.node, member.address, member.forwarding.method, vips)
    if member.former is not None:
        yield from needs_for(member.node, member.address, member.former.forwarding.method, vips)


def slices_needs(slices: Iterable[Slice]) -> Iterator[tuple[Need, ObjectKey, Member]]:
    """What the members of slices need, by service."""
    return contents_needs((one.service_key, one.content) for one in slices)


def contents_needs(contents: Iterable[tuple[ObjectKey, SliceContent]]) -> Iterator[tuple[Need, ObjectKey, Member]]:
    """What the members of services' slices need. A service whose first slice is missing names no VIPs."""
    ordered = list(contents)
    known = {
        (key, content.service_uid): frontends.vips(content.service)
        for key, content in ordered
        if content.service is not None
    }
    for key, content in ordered:
        addresses = known.get((key, content.service_uid), ())
        for member in content.members:
            for need in member_needs(member, addresses):
                yield need, key, member
