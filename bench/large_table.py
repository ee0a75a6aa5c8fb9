"""Large IPVS tables, and the same said to ipvsadm and keepalived."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    EditDestination,
    IpvsChange,
)
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    ForwardingMethod,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
    WantedService,
)

Table = Mapping[AnyServiceKey, WantedService]
_SETTINGS = ServiceSettings(scheduler="wrr")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How many services, and how many real servers in each."""

    services: int
    real_servers: int

    def __str__(self) -> str:
        return f"{self.services:,} services x {self.real_servers} real servers"

    @property
    def entries(self) -> int:
        """Services and real servers."""
        return self.services * (1 + self.real_servers)


LARGE = Shape(services=1_000, real_servers=10)


_FIFTHS = 5
_ROOM = 256
"""Addresses for the real servers of one service, those that come later included."""


def table_of(shape: Shape, *, heavier: int = 0, turns: int = 0) -> Table:
    """The table: addresses, ports and weights as a large installation has them.

    `heavier` is added to every weight. In each of `turns` another fifth of each service's real servers was replaced by
    ones that were never there before.
    """
    return {service_key(number): _service(shape, number, heavier, turns) for number in range(shape.services)}


def service_key(number: int) -> ServiceKey:
    """The key of one service."""
    address, port = IPv4Address(0x0A000001 + number // 4), 8000 + number % 4
    return ServiceKey(protocol=TransportProtocol.TCP, address=address, port=port)


def _service(shape: Shape, number: int, heavier: int, turns: int) -> WantedService:
    base = 0x0B000001 + number * _ROOM
    destinations = {}
    for member in range(shape.real_servers):
        fifth = member * _FIFTHS // shape.real_servers
        times_replaced = (turns + _FIFTHS - 1 - fifth) // _FIFTHS
        address = IPv4Address(base + member + times_replaced * shape.real_servers)
        key = DestinationKey(address=address, port=8000 + number % 4)
        weight = member + 1 + heavier
        destinations[key] = DestinationSettings(weight=weight, method=ForwardingMethod.DIRECT_ROUTE)
    return WantedService(settings=_SETTINGS, destinations=destinations)


def additions(table: Table) -> list[IpvsChange]:
    """What makes the table, services first, as the diff orders them."""
    services: list[IpvsChange] = [AddService(service=key, settings=wish.settings) for key, wish in table.items()]
    return services + [
        AddDestination(service=key, destination=destination, settings=settings)
        for key, wish in table.items()
        for destination, settings in wish.destinations.items()
    ]


def edits(table: Table) -> list[IpvsChange]:
    """What gives the real servers of a table that exists these settings."""
    return [
        EditDestination(service=key, destination=destination, settings=settings)
        for key, wish in table.items()
        for destination, settings in wish.destinations.items()
    ]


def ipvsadm_words(change: IpvsChange) -> list[str]:
    """The options of ipvsadm for a change of such a table."""
    key = change.service
    if not isinstance(key, ServiceKey):
        raise TypeError(key)
    service = ["-t", f"{key.address}:{key.port}"]
    match change:
        case AddService(settings=settings):
            return ["-A", *service, "-s", settings.scheduler]
        case AddDestination(destination=there, settings=settings):
            return ["-a", *service, "-r", str(there), "-g", "-w", str(settings.weight)]
        case EditDestination(destination=there, settings=settings):
            return ["-e", *service, "-r", str(there), "-g", "-w", str(settings.weight)]
        case DeleteDestination(destination=there):
            return ["-d", *service, "-r", str(there)]
    raise TypeError(change)


def ipvsadm_text(changes: Iterable[IpvsChange]) -> str:
    """A file for `ipvsadm -R`."""
    return "".join(f"{' '.join(ipvsadm_words(change))}\n" for change in changes)


def keepalived_text(table: Table) -> str:
    """A configuration of keepalived without checks: its real servers count as healthy at once."""
    return "\n".join(line for key, wish in table.items() for line in _virtual_server(key, wish))


def _virtual_server(key: AnyServiceKey, wish: WantedService) -> Iterator[str]:
    if not isinstance(key, ServiceKey):
        raise TypeError(key)
    yield f"virtual_server {key.address} {key.port} {{"
    yield from (f"    lvs_sched {wish.settings.scheduler}", "    lvs_method DR", "    protocol TCP")
    for there, settings in wish.destinations.items():
        yield from (f"    real_server {there.address} {there.port} {{", f"        weight {settings.weight}", "    }")
    yield "}"
