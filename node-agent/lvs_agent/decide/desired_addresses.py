"""Which addresses this node shall carry: VIPs of a director on its network device, VIPs of a real server silenced."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks, Route, RouteKind
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_agent.decide.wanted_sysctls import SysctlRole
from lvs_api.lvs_node import BindDevice
from lvs_core.plan import DirectorPlan, Holding, NodePlan

SILENT_DEVICES: Final = frozenset(device.value for device in BindDevice)
_V4: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredAddresses:
    """What shall be bound. Whatever else is ours goes."""

    vips: frozenset[AddressBinding] = frozenset()
    """On a director's network device."""
    silent: frozenset[AddressBinding] = frozenset()
    """On a real server's lo or tunnel device."""
    kept: frozenset[AddressBinding] = frozenset()
    """Ours, and to stay as they are for now."""
    homeless: Mapping[IPAddress, str] = field(default_factory=dict)
    """VIPs for which this node has no device, and why."""
    refused: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """What this node does not take, also where somebody else has made just the same, and why."""

    @property
    def all(self) -> frozenset[AddressBinding]:
        """Everything that may be bound."""
        return self.vips | self.silent | self.kept

    def without(self, refused: Mapping[IPAddress, Fault]) -> "DesiredAddresses":
        """The same without these addresses."""
        if not refused:
            return self
        bindings = {binding for binding in self.vips | self.silent if binding.address in refused}
        return replace(
            self,
            vips=self.vips - bindings,
            silent=self.silent - bindings,
            refused={binding: refused[binding.address] for binding in bindings},
        )


def desire_addresses(plan: NodePlan, links: KernelLinks, owned: AbstractSet[AddressBinding]) -> DesiredAddresses:
    """The addresses of this moment; `owned` are those that are ours now."""
    vips: set[AddressBinding] = set()
    kept: set[AddressBinding] = set()
    homeless: dict[IPAddress, str] = {}
    carried = {binding for binding in owned if binding.device not in SILENT_DEVICES}
    carried_by_address: dict[IPAddress, set[AddressBinding]] = {}
    for binding in carried:
        carried_by_address.setdefault(binding.address, set()).add(binding)
    for director in plan.directing:
        live = {one.vip for one in director.services if not one.paused}
        if director.incomplete:
            kept |= carried
        for address in director.addresses:
            mine = carried_by_address.get(address, set())
            if director.holding is Holding.KEEP or address not in live:
                kept |= mine
            elif director.holding is Holding.HOLD:
                carrier = min((binding.device for binding in mine), default=None)
                device = choose_vip_device(address, links, director.interface, carrier)
                if device is None:
                    kept |= mine
                    homeless[address] = _no_device(address, director)
                else:
                    vips.add(AddressBinding(address=address, device=device))
    if plan.provisional:
        kept |= carried
    carried_here = {binding.address for binding in vips | kept}
    silent = {
        AddressBinding(address=bound.address, device=bound.device.value)
        for bound in plan.bind
        if bound.address not in carried_here
    }
    if plan.provisional:
        silent |= owned - carried
    return DesiredAddresses(vips=frozenset(vips), silent=frozenset(silent), kept=frozenset(kept), homeless=homeless)


def sysctl_role(
    prepared: PreparedPlan, silent: AbstractSet[AddressBinding], routes: Mapping[IPAddress, Route]
) -> SysctlRole:
    """What the sysctls have to serve, with these addresses bound or about to be."""
    ipv4 = {binding for binding in silent if binding.address.version == _V4}
    devices: dict[int, set[str]] = {4: set(), 6: set()}
    for address in prepared.masqueraded:
        route = routes.get(address)
        if route is not None and route.device is not None:
            devices[address.version].add(route.device)
    return SysctlRole(
        silent=bool(ipv4),
        tunnel_devices=frozenset(b.device for b in ipv4 if b.device != BindDevice.LO.value),
        masquerade_ipv4=frozenset(devices[4]),
        masquerade_ipv6=frozenset(devices[6]),
        keeps=prepared.plan.provisional,
    )


def tunnel_sources(
    prepared: PreparedPlan, routes: Mapping[IPAddress, Route], vips: AbstractSet[AddressBinding]
) -> frozenset[IPAddress]:
    """From where this director sends wrapped packets, which may be a host address, say on lo of a node that speaks BGP.

    One that is a VIP does not count: the real server has it, too, and takes no packets from itself.
    """
    found = [route for address in prepared.tunnelled if (route := routes.get(address)) is not None]
    sources = {route.source for route in found if route.kind is RouteKind.UNICAST and route.source is not None}
    return frozenset(sources - {binding.address for binding in vips})


def _no_device(address: IPAddress, director: DirectorPlan) -> str:
    if director.interface is not None:
        return f"this node has no network device {director.interface}, which director group {director.group} names"
    return (
        f"no network device of this node has a subnet with {address}, and there is no default route: "
        f"set spec.interface of director group {director.group}"
    )
