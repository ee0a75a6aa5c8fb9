"""What of a service clients meet: its addresses and ports, or the mark by which its packets are found."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from lvs_api.network_types import Family
from lvs_api.service_slice import AcceptedService
from lvs_api.virtual_service import LvsVirtualServiceSpec, PortMode, ServicePort
from lvs_core.cluster_view import MemberPort, family_of

Frontend = LvsVirtualServiceSpec | AcceptedService
"""Both have the same fields for it."""


class Place(NamedTuple):
    """A destination under one port of a service."""

    port: str
    """Its name."""
    address: str
    number: int


class HasPorts(Protocol):
    """A member, wanted or of a slice."""

    @property
    def address(self) -> str:
        """Where packets go."""

    @property
    def port(self) -> int | None:
        """Its own, where it has one for all."""

    @property
    def ports(self) -> tuple[MemberPort, ...]:
        """Its own for each of the service's."""


class MarkedFamily(NamedTuple):
    """Packets of one family that carry a mark."""

    family: Family
    vip: str | None
    """Their address, where the service has one of the family."""


def vips(service: Frontend) -> tuple[str, ...]:
    """The addresses that directors carry for it, and real servers bind; none where somebody else sees to that."""
    return tuple(service.addresses or ())


def ports(service: Frontend) -> tuple[ServicePort, ...]:
    """Its ports; none under a mark that somebody else sets."""
    return tuple(service.ports or ())


def families(service: Frontend) -> frozenset[Family]:
    """The families of its packets."""
    mark = service.firewall_mark
    told = mark.families if mark is not None and not service.addresses else None
    return frozenset(told or ()) | {family_of(address) for address in vips(service)}


def marked_families(service: Frontend) -> tuple[MarkedFamily, ...]:
    """What its mark stands for, IPv4 first."""
    by_family = {family_of(address): address for address in vips(service)}
    return tuple(MarkedFamily(family, by_family.get(family)) for family in sorted(families(service)))


def is_grouped(service: Frontend) -> bool:
    """Whether its ports are one kernel service; in what was accepted the mark that was chosen for it says so."""
    if isinstance(service, AcceptedService):
        return service.firewall_mark is not None and service.ports is not None
    return service.port_mode is PortMode.GROUPED


def is_marked(service: Frontend) -> bool:
    """Whether its packets are found by a mark, whoever sets it."""
    return service.firewall_mark is not None or is_grouped(service)


def is_marked_by_others(service: Frontend) -> bool:
    """Whether somebody else sets the mark by which its packets are found."""
    return service.firewall_mark is not None and not is_grouped(service)


def destination_port(service: Frontend, member_port: int | None, port: ServicePort | None) -> int:
    """Where packets for a service's port go on a member; 0: they keep theirs, under port 0 or a mark."""
    if is_marked(service) or port is None or port.port == 0:
        return 0
    return member_port or port.real_server_port or port.port


def own_port(member: HasPorts, port: ServicePort | None) -> int | None:
    """The member's own port for one of the service's; None where it has none."""
    named = port.name if port is not None else None
    return next((number for name, number in member.ports if name == named), member.port)


def takes(member: HasPorts, port: ServicePort | None) -> bool:
    """Whether packets for a port of the service come to the member."""
    return not member.ports or port is None or any(name == port.name for name, _ in member.ports)


def telling_port(service: Frontend, member: HasPorts) -> int:
    """The port that tells members of the same address apart; of several the first by name."""
    return member.ports[0].number if member.ports else destination_port(service, member.port, only_port(service))


def places(service: Frontend, member: HasPorts) -> Iterator[Place]:
    """Where it stands under the service's ports; nowhere under a mark that somebody else sets."""
    for port in ports(service):
        if takes(member, port):
            yield Place(port.name, member.address, destination_port(service, own_port(member, port), port))


def only_port(service: Frontend) -> ServicePort | None:
    """The port of a service that has one; of several the first, for members have ports of their own only with one."""
    return next(iter(ports(service)), None)
