"""What other directors hand on to this one, which is a real server of the same service, goes to the server here.

Such a packet has the VIP as its destination, as a client's has, and this director's own virtual service would balance
it again: two directors would play it to and fro until its TTL ends. So it gets a firewall mark, and IPVS looks for a
service of the mark before one of the address and port (ip_vs_service_find in ip_vs_ctl.c): one whose only real server
is this node. What a packet is told by is there whoever carries the VIP, two at once as well: another director's MAC
address with DirectRouting, with Tunnel the device that unwraps.

Connections are found before services (ip_vs_in_hook in ip_vs_core.c), and on this node they lead here.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import (
    NO_SERVICE_FLAGS,
    AddressBinding,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    FirewallMarkKey,
    ForwardingMethod,
    IPAddress,
    KernelLinks,
    Route,
    ServiceFlag,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
    WantedService,
    family_of,
)
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.packet_table import HANDED_ON_MARK, HandedOnRule
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_api.bind_device import BindDevice
from lvs_api.conditions import Reason
from lvs_core.plan import NodePlan

HANDED_ON_SERVICES: Final = frozenset(FirewallMarkKey(family=family, mark=HANDED_ON_MARK) for family in AddressFamily)

_NAMES: Final = {AddressFamily.IPV4: "IPv4", AddressFamily.IPV6: "IPv6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOn:
    """What this node needs so that nothing is balanced twice."""

    vips: frozenset[IPAddress] = frozenset()
    """Those of which it is director and real server."""
    rules: frozenset[HandedOnRule] = frozenset()
    services: Mapping[AnyServiceKey, WantedService] = field(default_factory=dict)
    lacks: str | None = None
    """What can not be had."""


NOTHING_HANDED_ON: Final = HandedOn()


def own_vips(prepared: PreparedPlan, owned: OwnedIpvs) -> frozenset[IPAddress]:
    """VIPs that this node binds as a real server, and directs, or has services of from when it did.

    Of a mark's service that the plan does not have any more nobody knows the VIP: it may be each.
    """
    bound = frozenset(one.address for one in prepared.plan.bind)
    if not bound or not (prepared.services or owned):
        return frozenset()
    former = owned.keys() - HANDED_ON_SERVICES - {service.key for service in prepared.services}
    if any(isinstance(key, FirewallMarkKey) for key in former):
        return bound
    directed = {service.planned.vip for service in prepared.services}
    return bound & (directed | {key.address for key in former if isinstance(key, ServiceKey)})


def handed_on(prepared: PreparedPlan, owned: OwnedIpvs, macs: AbstractSet[bytes]) -> HandedOn:
    """What is needed now; `macs` are those of the other directors, as far as they are known."""
    plan = prepared.plan
    vips = own_vips(prepared, owned)
    if not vips:
        return NOTHING_HANDED_ON
    services: dict[AnyServiceKey, WantedService] = {}
    lacks = next(_holders(prepared), None)
    for family in sorted({family_of(vip) for vip in vips}):
        key = FirewallMarkKey(family=family, mark=HANDED_ON_MARK)
        here = _own_address(family, plan, owned.get(key, frozenset()))
        if here is None:
            lacks = lacks or f"the director group's status does not name this node's own {_NAMES[family]} address yet"
        elif lacks is None:
            services[key] = _served_here(here, _flags(prepared, vips, family))
    rules = {
        rule
        for bound in plan.bind
        if bound.address in vips
        for rule in (
            [HandedOnRule(bound.address, mac=mac.hex(":")) for mac in macs]
            if bound.device is BindDevice.LO
            else [HandedOnRule(bound.address, device=bound.device.value)]
        )
    }
    return HandedOn(vips=vips, rules=frozenset(rules), services=services, lacks=lacks)


def ways_to_ask(
    directors: Mapping[str, tuple[IPAddress, ...]], routes: Mapping[IPAddress, Route], links: KernelLinks
) -> Mapping[IPAddress, str]:
    """Their addresses on this node's links, each with the device; who is on none sends nothing by DirectRouting."""
    found = {address: routes[address] for known in directors.values() for address in known if address in routes}
    return {
        address: device.name
        for address, route in found.items()
        if route.on_link
        and route.device is not None
        and (device := links.devices.get(route.device)) is not None
        and device.arp_capable
        and device.hardware_address
    }


def waiting_vips(plan: NodePlan, vips: AbstractSet[IPAddress], why: str) -> Mapping[AddressBinding, Fault]:
    """The addresses of a real server that wait until what is handed on is told apart."""
    return {
        AddressBinding(address=bound.address, device=bound.device.value): Fault(reason=Reason.PENDING, message=why)
        for bound in plan.bind
        if bound.address in vips
    }


def waiting_services(
    prepared: PreparedPlan, vips: AbstractSet[IPAddress], present: AbstractSet[AnyServiceKey], why: str
) -> Mapping[AnyServiceKey, Fault]:
    """The services that are not made until then."""
    if not vips:
        return {}
    return {
        service.key: Fault(reason=Reason.NOT_PROGRAMMED, message=why)
        for service in prepared.services
        if service.planned.vip in vips and service.key not in present
    }


def _holders(prepared: PreparedPlan) -> Iterator[str]:
    for service in prepared.services:
        if service.key in HANDED_ON_SERVICES:
            yield (
                f"firewall mark {HANDED_ON_MARK} belongs to LvsVirtualService {service.planned.service}: a director "
                "that is a real server, too, needs it for itself"
            )


def _own_address(family: AddressFamily, plan: NodePlan, before: AbstractSet[DestinationKey]) -> IPAddress | None:
    """By the groups' status; of a former director the one that it has."""
    named = (address for director in plan.directing for address in director.own_addresses)
    known = next((address for address in named if family_of(address) is family), None)
    return known if known is not None else next((key.address for key in before), None)


def _flags(prepared: PreparedPlan, vips: AbstractSet[IPAddress], family: AddressFamily) -> ServiceFlag:
    """Without connections where UDP has none here.

    Those of datagrams that were handed on would lead the client's next ones here, too, once this director is Master.
    One service stands for all: where only some schedule each packet by itself, the others keep their connections.
    """
    mine = {vip for vip in vips if family_of(vip) is family}
    asked = {
        service.planned.one_packet_scheduling
        for service in prepared.services
        if service.planned.vip in mine and _has_datagrams(service.key)
    }
    return ServiceFlag.ONE_PACKET if asked == {True} else NO_SERVICE_FLAGS


def _has_datagrams(key: AnyServiceKey) -> bool:
    return isinstance(key, FirewallMarkKey) or key.protocol is TransportProtocol.UDP


def _served_here(address: IPAddress, flags: ServiceFlag) -> WantedService:
    """What falls to an own address the kernel gives to this node itself, at the VIP."""
    return WantedService(
        settings=ServiceSettings(scheduler="rr", flags=flags),
        destinations={
            DestinationKey(address=address, port=0): DestinationSettings(weight=1, method=ForwardingMethod.DIRECT_ROUTE)
        },
    )
