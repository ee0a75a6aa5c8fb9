"""Lines for `ip -batch` that give a machine its addresses and routes, be it a guest or a namespace. Pure."""

from collections.abc import Iterator, Mapping

from lvs_lab.topology import Interface, Machine, Part


def address_lines(interface: Interface) -> Iterator[str]:
    """Addresses of a card, and the card up. Duplicate detection is skipped: it would take a second."""
    for address in interface.addresses:
        yield f"addr add {address} dev {interface.name}{' nodad' if address.version == 6 else ''}"
    yield f"link set {interface.name} up"


def route_lines(machine: Machine) -> Iterator[str]:
    """Default and static routes."""
    for gateway in machine.gateways:
        yield f"route add default via {gateway}"
    for route in machine.routes:
        yield f"route add {route.to} via {route.via}"


def sysctl_values(machine: Machine) -> Mapping[str, str]:
    """What the topology sets; a router forwards unless it is told otherwise."""
    forwarding = (
        {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"} if machine.part is Part.ROUTER else {}
    )
    return {**forwarding, **dict(machine.sysctls)}
