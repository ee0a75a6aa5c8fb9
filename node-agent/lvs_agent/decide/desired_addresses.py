"""Which addresses this node shall carry: VIPs of a director on its network device, VIPs of a real server silenced."""

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from lvs_agent.decide.kernel_state import AddressBinding, AnyServiceKey, IPAddress, KernelLinks, Route
from lvs_agent.decide.kernel_words import service_key
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_agent.decide.wanted_sysctls import SysctlRole
from lvs_api.lvs_node import BindDevice
from lvs_api.network_types import ForwardingMethod
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

    @property
    def all(self) -> frozenset[AddressBinding]:
        """Everything that may be bound."""
        return self.vips | self.silent | self.kept


def desire_addresses(plan: NodePlan, links: KernelLinks, owned: AbstractSet[AddressBinding]) -> DesiredAddresses:
    """The addresses of this moment; `owned` are those that are ours now."""
    vips: set[AddressBinding] = set()
    kept: set[AddressBinding] = set()
    homeless: dict[IPAddress, str] = {}
    carried = {binding for binding in owned if binding.device not in SILENT_DEVICES}
    for director in plan.directing:
        live = {one.key.address for one in director.services if not one.paused}
        if director.incomplete:
            kept |= carried
        for address in director.addresses:
            mine = {binding for binding in carried if binding.address == address}
            if director.holding is Holding.KEEP or address not in live:
                kept |= mine
            elif director.holding is Holding.HOLD:
                device = choose_vip_device(address, links, director.interface)
                if device is None:
                    kept |= mine
                    homeless[address] = _no_device(address, director)
                else:
                    vips.add(AddressBinding(address=address, device=device))
    carried_here = {binding.address for binding in vips | kept}
    silent = frozenset(
        AddressBinding(address=bound.address, device=bound.device.value)
        for bound in plan.bind
        if bound.address not in carried_here
    )
    return DesiredAddresses(vips=frozenset(vips), silent=silent, kept=frozenset(kept), homeless=homeless)


def served_addresses(plan: NodePlan, present: AbstractSet[AnyServiceKey]) -> frozenset[IPAddress]:
    """VIPs for which the kernel has at least one service: before that an address would only refuse clients."""
    return frozenset(one.key.address for one in plan.services() if service_key(one.key) in present)


def sysctl_role(plan: NodePlan, silent: AbstractSet[AddressBinding], routes: Mapping[IPAddress, Route]) -> SysctlRole:
    """What the sysctls have to serve, with these addresses bound or about to be."""
    ipv4 = {binding for binding in silent if binding.address.version == _V4}
    devices: dict[int, set[str]] = {4: set(), 6: set()}
    for planned in plan.services():
        for member in planned.members:
            route = routes.get(member.address)
            if member.method is ForwardingMethod.MASQUERADE and route is not None and route.device is not None:
                devices[member.address.version].add(route.device)
    return SysctlRole(
        silent=bool(ipv4),
        tunnel_devices=frozenset(b.device for b in ipv4 if b.device != BindDevice.LO.value),
        masquerade_ipv4=frozenset(devices[4]),
        masquerade_ipv6=frozenset(devices[6]),
    )


def routed_members(plan: NodePlan) -> frozenset[IPAddress]:
    """Real servers whose route matters: to be on link, or to know where replies come in."""
    return frozenset(
        member.address
        for planned in plan.services()
        for member in planned.members
        if member.method is not ForwardingMethod.TUNNEL
    )


def _no_device(address: IPAddress, director: DirectorPlan) -> str:
    if director.interface is not None:
        return f"this node has no network device {director.interface}, which director group {director.group} names"
    return (
        f"no network device of this node has a subnet with {address}, and there is no default route: "
        f"set spec.interface of director group {director.group}"
    )
