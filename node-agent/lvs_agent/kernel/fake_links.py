"""Devices, addresses and host routes without a kernel, for unit tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lvs_agent.decide.changes import BindAddress, LinkChange
from lvs_agent.decide.kernel_state import (
    HOST_PREFIX_LENGTH,
    AddressFamily,
    Device,
    HostRoute,
    InterfaceAddress,
    IPAddress,
    KernelLinks,
    Route,
    RouteKind,
)
from lvs_agent.errors import AddressRefused, DeviceNotFound, LinkError
from lvs_agent.kernel.interface import LinkFailure

_TUNNEL_KINDS = {"tunl0": "ipip", "ip6tnl0": "ip6tnl", "gre0": "gre", "ip6gre0": "ip6gre"}


@dataclass(slots=True)
class FakeHostRoutes:
    """`HostRoutes` in memory. `foreign` are addresses to which somebody else has a host route."""

    routes: set[HostRoute] = field(default_factory=set)
    foreign: set[IPAddress] = field(default_factory=set)
    writes: int = 0

    async def read(self) -> frozenset[HostRoute]:
        """Ours."""
        return frozenset(self.routes)

    async def add(self, route: HostRoute) -> None:
        """Refused where there is one to this address already."""
        if route.address in self.foreign | {present.address for present in self.routes}:
            raise AddressRefused(f"route to {route.address}: File exists")
        self.writes += 1
        self.routes.add(route)

    async def remove(self, route: HostRoute) -> None:
        """Take it away."""
        self.writes += route in self.routes
        self.routes.discard(route)

    async def close(self) -> None:
        """Nothing to release."""


@dataclass(kw_only=True)
class FakeLinks:
    """`Links` in memory. Tunnel devices come by themselves, as with their modules, unless `modules` is false."""

    devices: dict[str, Device] = field(default_factory=dict)
    addresses: set[InterfaceAddress] = field(default_factory=set)
    default_devices: dict[AddressFamily, str] = field(default_factory=dict)
    routes: dict[IPAddress, Route] = field(default_factory=dict)
    gateways: set[IPAddress] = field(default_factory=set)
    """Next hops beside those of `routes`, say of a default route."""
    modules: bool = True
    writes: int = 0
    wake: Callable[[], None] | None = None

    async def read(self, *, fresh: bool = False) -> KernelLinks:  # noqa: ARG002 (never stale)
        """Every device and address."""
        return KernelLinks(
            devices=dict(self.devices),
            addresses=frozenset(self.addresses),
            default_devices=dict(self.default_devices),
        )

    async def apply(self, changes: Sequence[LinkChange]) -> tuple[LinkFailure, ...]:
        """Bind and unbind."""
        failures: list[LinkFailure] = []
        for change in changes:
            try:
                self._carry_out(change)
            except LinkError as error:
                failures.append(LinkFailure(change=change, error=error))
        return tuple(failures)

    async def route_to(self, address: IPAddress) -> Route:
        """What `routes` says; LOCAL for addresses that are bound here."""
        if any(a.address == address for a in self.addresses):
            return Route(kind=RouteKind.LOCAL, device="lo")
        return self.routes.get(address, Route(kind=RouteKind.UNREACHABLE))

    async def next_hops(self) -> frozenset[IPAddress]:
        """Those of `routes`, and the gateways."""
        named = {route.next_hop for route in self.routes.values() if route.next_hop is not None}
        return frozenset(named | self.gateways)

    async def watch(self, wake: Callable[[], None]) -> None:
        """Remember whom to wake."""
        self.wake = wake

    async def close(self) -> None:
        """Nothing to release."""

    def add_device(self, name: str, *, kind: str = "", arp_capable: bool = True) -> None:
        """A device as if somebody had plugged it in."""
        index = len(self.devices) + 1
        self.devices[name] = Device(
            index=index,
            name=name,
            kind=kind,
            up=True,
            arp_capable=arp_capable,
            hardware_address=bytes([2, *[index] * 5]),
        )
        self._changed()

    def remove_behind_our_back(self, address: InterfaceAddress) -> None:
        """`ip addr del` by somebody else."""
        self.addresses.remove(address)
        self._changed()

    def _carry_out(self, change: LinkChange) -> None:
        binding = change.binding
        if isinstance(change, BindAddress) and binding.device not in self.devices:
            if binding.device not in _TUNNEL_KINDS or not self.modules:
                raise DeviceNotFound(f"there is no network device {binding.device}")
            self.add_device(binding.device, kind=_TUNNEL_KINDS[binding.device], arp_capable=False)
        entry = InterfaceAddress(
            device=binding.device,
            address=binding.address,
            prefix_length=HOST_PREFIX_LENGTH[binding.address.version],
        )
        present = entry in self.addresses
        if isinstance(change, BindAddress) == present:
            return
        self.writes += 1
        (self.addresses.discard if present else self.addresses.add)(entry)
        self._changed()

    def _changed(self) -> None:
        if self.wake is not None:
            self.wake()
