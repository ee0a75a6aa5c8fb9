"""What this real server's packet filter does for its tunnels: it unwraps from directors only, keeps requests small.

A tunnel device unwraps what anybody sends to it, and a port for GUE hands to it what anybody sends there, so wrapped
packets are let in from directors alone. Where somebody else uses the kind of tunnel, too, they are let in from
everywhere: who may send to him is his affair.

A request grows by the director's wrapping and may then be too large for the way to the real server. The director says
so to the client (ICMP "fragmentation needed"), which many a filter drops; so the client is told from the start, by the
segment size in the answer that opens its connection. That answer passes the director by: only the real server can.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import (
    HOST_PREFIX_LENGTH,
    AddressBinding,
    AddressFamily,
    IPAddress,
    KernelLinks,
    ReceivePort,
    Route,
    RouteKind,
    family_of,
)
from lvs_agent.decide.packet_table import NO_RULES, ClampRule, PacketRules, UnwrapRule
from lvs_api.bind_device import BindDevice
from lvs_api.conditions import Reason
from lvs_core.plan import NodePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelKind:
    """What comes in by a tunnel device."""

    protocol: int
    """IP protocol number of the wrapped packets."""
    family: AddressFamily
    """Of the outer header."""
    overhead: int
    """Bytes by which a packet grows."""
    alike: Mapping[str, str]
    """Kinds of devices that take the same packets, each with the one that comes with the kernel's module."""


class PortSight(NamedTuple):
    """How the ports for GUE were found."""

    ours: frozenset[ReceivePort] = frozenset()
    """Open, wanted or not."""
    opening: frozenset[ReceivePort] = frozenset()
    """Wanted, and nobody has them."""
    theirs: frozenset[ReceivePort] = frozenset()
    """Wanted, and opened by somebody else: used as they are."""

    @property
    def guarded(self) -> frozenset[ReceivePort]:
        """Strangers are kept out of these: before one is opened, and until it is closed."""
        return self.ours | self.opening


NO_PORTS: Final = PortSight()
TUNNEL_KINDS: Final[Mapping[BindDevice, TunnelKind]] = {
    BindDevice.TUNL0: TunnelKind(protocol=4, family=AddressFamily.IPV4, overhead=20, alike={"ipip": "tunl0"}),
    BindDevice.IP6TNL0: TunnelKind(protocol=41, family=AddressFamily.IPV6, overhead=40, alike={"ip6tnl": "ip6tnl0"}),
    BindDevice.GRE0: TunnelKind(
        protocol=47,
        family=AddressFamily.IPV4,
        overhead=20 + 4,
        alike={"gre": "gre0", "gretap": "gretap0", "erspan": "erspan0"},
    ),
    BindDevice.IP6GRE0: TunnelKind(
        protocol=47,
        family=AddressFamily.IPV6,
        overhead=40 + 4,
        alike={"ip6gre": "ip6gre0", "ip6gretap": "ip6gretap0", "ip6erspan": "ip6erspan0"},
    ),
}
_GUE_OVERHEAD: Final = 8 + 4 + 8
"""Bytes of UDP, of GUE, and of what says of a checksum that a network card was to complete (ipvs_gue_encap)."""
_UDP: Final = 17
_HEADERS: Final = {AddressFamily.IPV4: 20 + 20, AddressFamily.IPV6: 40 + 20}
"""IP and TCP without options: what a segment's size does not count (RFC 6691)."""
_LARGEST_SEGMENT: Final = 65535
_VERSIONS: Final = {AddressFamily.IPV4: 4, AddressFamily.IPV6: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelGuard:
    """Rules for the packet filter, and why they do not keep strangers out."""

    rules: PacketRules = NO_RULES
    fault: Fault | None = None

    def with_failure(self, why: str | None) -> Fault | None:
        """What is to be said where the rules could not be set."""
        if why is None or not self.rules:
            return self.fault
        return Fault(reason=Reason.TUNNEL_RULES_NOT_SET, message=why)


def guard_tunnels(
    plan: NodePlan,
    links: KernelLinks,
    owned: AbstractSet[AddressBinding],
    routes: Mapping[IPAddress, Route],
    ports: PortSight = NO_PORTS,
) -> TunnelGuard:
    """The rules of this moment; `owned` are the addresses that are ours now."""
    unwraps: set[UnwrapRule] = set()
    sizes: dict[IPAddress, int] = {}
    faults: list[Fault] = []
    for device, tunnel in TUNNEL_KINDS.items():
        vips = {bound.address for bound in plan.bind if bound.device is device}
        if not vips:
            continue
        by_gue = {bound.address for bound in plan.bind if bound.device is device and bound.gue_ports}
        senders = [one for one in plan.director_addresses if one.version == _VERSIONS[tunnel.family]]
        ours = vips | {binding.address for binding in owned if binding.device == device.value}
        others = _other_users(device, tunnel, links, ours)
        if others is not None:
            faults.append(Fault(reason=Reason.TUNNEL_SHARED, message=_shared(device, others)))
        elif not senders:
            faults.append(Fault(reason=Reason.DIRECTORS_UNKNOWN, message=_unknown(device)))
        else:
            unwraps |= {UnwrapRule(tunnel.protocol, sender) for sender in senders}
        mtu = _mtu(tunnel.family, senders, links, routes)
        if mtu is not None:
            for vip in vips:
                overhead = tunnel.overhead + (_GUE_OVERHEAD if vip in by_gue else 0)
                size = min(mtu - overhead - _HEADERS[family_of(vip)], _LARGEST_SEGMENT)
                sizes[vip] = min(size, sizes.get(vip, size))
    # Whoever else uses the device, and whether it has a VIP still: our port is for our directors.
    unwraps |= {
        UnwrapRule(_UDP, sender, port.port)
        for port in ports.guarded
        for sender in plan.director_addresses
        if sender.version == _VERSIONS[port.family]
    }
    faults += [Fault(reason=Reason.TUNNEL_SHARED, message=_shared_port(port)) for port in sorted(ports.theirs)]
    clamps = frozenset(ClampRule(vip, size) for vip, size in sizes.items())
    rules = PacketRules(unwraps=frozenset(unwraps), clamps=clamps)
    return TunnelGuard(rules=rules, fault=faults[0] if faults else None)


def _other_users(
    device: BindDevice, tunnel: TunnelKind, links: KernelLinks, ours: AbstractSet[IPAddress]
) -> str | None:
    """Who else receives such packets, in words. What the kernel makes by itself counts once it has an address."""
    for name, found in sorted(links.devices.items()):
        if found.kind in tunnel.alike and name != tunnel.alike[found.kind]:
            return f"device {name}"
    theirs = sorted(
        f"address {found.address} on {found.device}"
        for found in links.addresses
        if found.device in tunnel.alike.values()
        and not found.address.is_link_local
        and (found.device != device.value or found.address not in ours)
    )
    return theirs[0] if theirs else None


def _mtu(
    family: AddressFamily, senders: Iterable[IPAddress], links: KernelLinks, routes: Mapping[IPAddress, Route]
) -> int | None:
    """The least of the ways to the directors, taken to be the same in both directions; None where none is known.

    While the directors are not known it is that of the default route's device, or of every device that has a subnet.
    """
    ways = [route for sender in senders if (route := routes.get(sender)) is not None]
    known = [mtu for route in ways if (mtu := _mtu_of(route, links)) is not None]
    if known:
        return min(known)
    default = links.default_devices.get(family)
    names = {default} if default is not None else set(_devices_with_subnets(family, links))
    return min((links.devices[name].mtu for name in names if name in links.devices), default=None)


def _mtu_of(route: Route, links: KernelLinks) -> int | None:
    device = links.devices.get(route.device) if route.device is not None else None
    if route.kind is not RouteKind.UNICAST or device is None:
        return None
    return device.mtu if route.mtu is None else min(route.mtu, device.mtu)


def _devices_with_subnets(family: AddressFamily, links: KernelLinks) -> Iterator[str]:
    for found in links.addresses:
        is_host = found.prefix_length == HOST_PREFIX_LENGTH[found.address.version]
        if found.address.version == _VERSIONS[family] and not (is_host or found.address.is_loopback):
            yield found.device


def _shared(device: BindDevice, others: str) -> str:
    return (
        f"somebody else uses tunnels as {device.value} is one ({others}): wrapped packets are unwrapped whoever sends "
        "them; let your packet filter accept them from the directors and from his peers only"
    )


def _shared_port(port: ReceivePort) -> str:
    return (
        f"somebody else opened {port}, which stays open when it is needed no more: packets are unwrapped there whoever "
        "sends them; let your packet filter accept them from the directors and from his peers only"
    )


def _unknown(device: BindDevice) -> str:
    return (
        f"not every director has named its addresses yet: packets for {device.value} are unwrapped whoever sends them"
    )
