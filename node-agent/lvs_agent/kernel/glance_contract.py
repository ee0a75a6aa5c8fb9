"""What a glance at the IPVS table must show, at the kernel as at the fake: what is made, removed or weighed anew."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    IpvsChange,
)
from lvs_agent.decide.kernel_state import (
    AddressFamily,
    DestinationKey,
    DestinationSettings,
    FirewallMarkKey,
    ForwardingMethod,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
)
from lvs_agent.kernel.interface import IpvsTable

_WEB: Final = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address("10.0.0.1"), port=80)
_WEB6: Final = ServiceKey(protocol=TransportProtocol.UDP, address=ip_address("2001:db8::1"), port=53)
_MARK: Final = FirewallMarkKey(family=AddressFamily.IPV4, mark=7)
_ONE: Final = DestinationKey(address=ip_address("10.1.0.1"), port=80)
_TWO: Final = DestinationKey(address=ip_address("10.1.0.2"), port=80)
_ONE6: Final = DestinationKey(address=ip_address("2001:db8:1::1"), port=53)
_RR: Final = ServiceSettings(scheduler="rr")


def _weighs(weight: int, method: ForwardingMethod = ForwardingMethod.MASQUERADE) -> DestinationSettings:
    return DestinationSettings(weight=weight, method=method)


STEPS: Final[Mapping[str, IpvsChange]] = {
    "a service": AddService(service=_WEB, settings=_RR),
    "its first destination": AddDestination(service=_WEB, destination=_ONE, settings=_weighs(1)),
    "another one": AddDestination(service=_WEB, destination=_TWO, settings=_weighs(1)),
    "a weight": EditDestination(service=_WEB, destination=_ONE, settings=_weighs(2)),
    "the largest weight": EditDestination(service=_WEB, destination=_ONE, settings=_weighs((1 << 31) - 1)),
    "no weight": EditDestination(service=_WEB, destination=_ONE, settings=_weighs(0)),
    "a method": EditDestination(service=_WEB, destination=_TWO, settings=_weighs(1, ForwardingMethod.TUNNEL)),
    "a service by IPv6": AddService(service=_WEB6, settings=_RR),
    "its destination": AddDestination(service=_WEB6, destination=_ONE6, settings=_weighs(9)),
    "its weight": EditDestination(service=_WEB6, destination=_ONE6, settings=_weighs(8)),
    "a service by mark": AddService(service=_MARK, settings=_RR),
    "a removed destination": DeleteDestination(service=_WEB, destination=_ONE),
    "a removed service": DeleteService(service=_MARK),
    "a removed service with a destination": DeleteService(service=_WEB6),
    "the last service": DeleteService(service=_WEB),
}
"""One after the other, on an empty table; none is left after them."""


def complaints(table: IpvsTable) -> dict[str, str]:
    """Which steps a glance does not show, or shows though nothing happened; empty where all is well."""
    found: dict[str, str] = {}
    before = table.glance()
    for name, change in STEPS.items():
        applied = table.apply([change])
        if applied.failures:
            found[name] = str(applied.failures[0].error)
        now = table.glance()
        if now is None or now == before:
            found[name] = "a glance does not show it"
        if table.glance() != now:
            found[name] = "two glances differ though nothing happened"
        before = now
    return found
