"""From which addresses this node asks neighbours for their MAC addresses. Pure.

A question from no address is a probe (RFC 5227, 2.1.1; RFC 4862, 5.4). A machine that boots, and makes sure just then
that nobody has its address, takes a probe for somebody who is about to take it, and leaves the address off: Linux calls
it `dadfailed` and does not try again.
"""

from ipaddress import IPv6Address

from lvs_agent.decide.kernel_state import HOST_PREFIX_LENGTH, IPAddress, KernelLinks


def asking_addresses(device: str, links: KernelLinks) -> tuple[IPAddress, ...]:
    """One of each family that the device has; none of them is a VIP, for those are host addresses."""
    found: dict[int, IPAddress] = {}
    there = (one for one in links.addresses if one.device == device and one.usable)
    for one in sorted(there, key=lambda one: (not _is_link_local(one.address), int(one.address))):
        if one.prefix_length < HOST_PREFIX_LENGTH[one.address.version]:
            found.setdefault(one.address.version, one.address)
    return tuple(found.values())


def _is_link_local(address: IPAddress) -> bool:
    """What kernels ask from by themselves, over IPv6: it is always there."""
    return isinstance(address, IPv6Address) and address.is_link_local
