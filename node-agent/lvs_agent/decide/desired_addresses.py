"""Which addresses this node shall carry: VIPs of a director on its network device, VIPs of a real server silenced."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks, Route, RouteKind
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_agent.decide.wanted_sysctls import SysctlRole
from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import VirtualRouterState
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
    by_vrrp: frozenset[AddressBinding] = frozenset()
    """On a director's network device, carried by the VRRP daemon."""
    handed_over: frozenset[AddressBinding] = frozenset()
    """Of those what was ours: it stays, and is ours no more."""
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


def desire_addresses(
    plan: NodePlan,
    links: KernelLinks,
    owned: AbstractSet[AddressBinding],
    vrrp: Mapping[IPAddress, VirtualRouterState] = MappingProxyType({}),
    withdrawn: AbstractSet[IPAddress] = frozenset(),
) -> DesiredAddresses:
    """The addresses of this moment; `owned` are those that are ours now, `vrrp` says what the VRRP daemon does.

    `withdrawn` VIPs are not carried for want of real servers behind them.
    """
    carried = {binding for binding in owned if binding.device not in SILENT_DEVICES}
    sorted_out = _Director(links, vrrp, carried)
    for director in plan.directing:
        sorted_out.add(director, withdrawn)
    kept = sorted_out.kept | carried if plan.provisional else sorted_out.kept
    # A director that is a real server of its own service has the VIP there, too, whoever carries it now: where the
    # service goes on without this node's doing, by VRRP, the VIP must be there when its network device has lost it.
    silent = {AddressBinding(address=bound.address, device=bound.device.value) for bound in plan.bind}
    if plan.provisional:
        silent |= owned - carried
    return DesiredAddresses(
        vips=frozenset(sorted_out.vips),
        silent=frozenset(silent),
        kept=frozenset(kept),
        by_vrrp=frozenset(sorted_out.by_vrrp),
        handed_over=frozenset(sorted_out.by_vrrp & owned),
        homeless=sorted_out.homeless,
    )


class _Director:
    """The VIPs of this node's director groups, sorted out."""

    def __init__(
        self,
        links: KernelLinks,
        vrrp: Mapping[IPAddress, VirtualRouterState],
        carried: AbstractSet[AddressBinding],
    ) -> None:
        self._links = links
        self._vrrp = vrrp
        self._carried = carried
        self._mine = _by_address(carried)
        bound = links.bindings() if vrrp else frozenset()
        self._bound = _by_address(binding for binding in bound if binding.device not in SILENT_DEVICES)
        self.vips: set[AddressBinding] = set()
        self.kept: set[AddressBinding] = set()
        self.by_vrrp: set[AddressBinding] = set()
        self.homeless: dict[IPAddress, str] = {}

    def add(self, director: DirectorPlan, withdrawn: AbstractSet[IPAddress]) -> None:
        """Sort out the VIPs of one group."""
        live = {one.vip for one in director.services if not one.paused}
        if director.incomplete:
            self.kept |= self._carried
        for address in director.addresses:
            if director.holding is Holding.VRRP:
                self._leave_to_vrrp(address, director)
            elif director.holding is Holding.KEEP or address not in live:
                self.kept |= self._mine.get(address, set())
                if self._vrrp.get(address) is VirtualRouterState.MASTER:
                    self.by_vrrp |= self._bound.get(address, set())
            elif director.holding is Holding.HOLD:
                device = self._device(address, director)
                if device is not None and address not in withdrawn:
                    self.vips.add(AddressBinding(address=address, device=device))

    def _leave_to_vrrp(self, address: IPAddress, director: DirectorPlan) -> None:
        """What was bound before the daemon has taken over stays until then, so that the address is never absent."""
        self._device(address, director)
        if address not in self._vrrp:
            self.kept |= self._mine.get(address, set())
        elif self._vrrp[address] is VirtualRouterState.MASTER:
            self.by_vrrp |= self._bound.get(address, set())

    def _device(self, address: IPAddress, director: DirectorPlan) -> str | None:
        mine = self._mine.get(address, set())
        carrier = min((binding.device for binding in mine), default=None)
        device = choose_vip_device(address, self._links, director.interface, carrier)
        if device is None:
            self.kept |= mine
            self.homeless[address] = _no_device(address, director)
        return device


def _by_address(bindings: Iterable[AddressBinding]) -> dict[IPAddress, set[AddressBinding]]:
    found: dict[IPAddress, set[AddressBinding]] = {}
    for binding in bindings:
        found.setdefault(binding.address, set()).add(binding)
    return found


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
    served = {address for director in prepared.plan.directing for address in director.addresses}  # by VRRP, too
    return frozenset(sources - served - {binding.address for binding in vips})


def _no_device(address: IPAddress, director: DirectorPlan) -> str:
    if director.interface is not None:
        return f"this node has no network device {director.interface}, which director group {director.group} names"
    return (
        f"no network device of this node has a subnet with {address}, and there is no default route: "
        f"set spec.interface of director group {director.group}"
    )
