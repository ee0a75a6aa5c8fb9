"""Which addresses this node does not take, whatever it is told, and why.

Only a first claim is judged. What is ours already works, and taking it away for something that came later would be an
outage made by us: a route, a Node or a range that collides with it later changes nothing until it is claimed anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import (
    HOST_PREFIX_LENGTH,
    AddressBinding,
    InterfaceAddress,
    IPAddress,
    KernelLinks,
)
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_api.conditions import Reason
from lvs_core.plan import Holding, NodePlan

IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An address that this node is told to take, and does not have yet."""

    address: IPAddress
    device: str | None
    """Where it goes; None: no device is known, which is told elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeClaim:
    """Another Node that names the address as its own."""

    node: str
    carries: bool = False
    """It is a director, and its agent does not name this address as the node's own: it may be there by our doing, or
    have been until just now, and its kubelet may report that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What the API server tells of addresses that are in use."""

    nodes: Mapping[IPAddress, NodeClaim] = field(default_factory=dict)
    """Addresses of the other Nodes; without those that their agents report bound as real servers."""
    ranges: Mapping[IPNetwork, str] = field(default_factory=dict)
    """Pod and Service ranges, and whose each is."""
    api_servers: frozenset[IPAddress] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What this node sees around it."""

    cluster: ClusterFacts = field(default_factory=ClusterFacts)
    next_hops: frozenset[IPAddress] = frozenset()
    name_servers: frozenset[IPAddress] = frozenset()
    refused_ranges: Sequence[IPNetwork] = ()
    """What `--refuse-range` names."""
    addresses: frozenset[InterfaceAddress] = frozenset()
    """Every address of this node."""
    bound: AbstractSet[AddressBinding] = frozenset()
    """Those of them that are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Addresses that are not to be bound."""

    faults: Mapping[IPAddress, Fault] = field(default_factory=dict)
    left_out: frozenset[IPAddress] = frozenset()
    """Those of them of which the kernel has no service of ours. None is made: IPVS takes packets to every address of
    this node, its own and its API server's too."""


NO_REFUSALS: Final = Refusals()


def first_claims(
    plan: NodePlan, links: KernelLinks, served: AbstractSet[IPAddress], bound: AbstractSet[IPAddress]
) -> frozenset[Claim]:
    """The addresses of the plan that are not ours yet; `served` have services of ours, `bound` are bound by us."""
    claims: set[Claim] = set()
    for director in plan.directing:
        for address in director.addresses:
            if address in bound or (address in served and director.holding is not Holding.HOLD):
                continue
            device = choose_vip_device(address, links, director.interface)
            claims.add(Claim(address=address, device=device))
    claims |= {Claim(address=one.address, device=one.device.value) for one in plan.bind if one.address not in bound}
    return frozenset(claims)


def own_addresses(links: KernelLinks, sources: Iterable[IPAddress] = ()) -> tuple[IPAddress, ...]:
    """The node's own addresses, in order.

    Host addresses are VIPs, ours or another's; but for `sources`, from which it sends and which are no VIPs.
    """
    own = {
        found.address
        for found in links.addresses
        if found.prefix_length < HOST_PREFIX_LENGTH[found.address.version]
        and not (found.address.is_loopback or found.address.is_link_local)
    }.union(sources)
    return tuple(sorted(own, key=lambda address: (address.version, int(address))))


def refuse(claims: Iterable[Claim], around: Surroundings) -> dict[IPAddress, Fault]:
    """The addresses that this node does not take, each with the first rule that it meets."""
    by_address: dict[IPAddress, list[Claim]] = {}
    for claim in claims:
        by_address.setdefault(claim.address, []).append(claim)
    verdicts = {address: _judge(address, ones, around) for address, ones in by_address.items()}
    return {address: fault for address, fault in verdicts.items() if fault is not None}


def _judge(address: IPAddress, claims: list[Claim], around: Surroundings) -> Fault | None:
    if fault := _on_this_node(address, claims, around):
        return fault
    for rule in _RULES:
        if detail := rule(address, around):
            return Fault(
                reason=Reason.ADDRESS_REFUSED, message=f"{address} {detail}: choose one that nothing else uses"
            )
    return None


def _on_this_node(address: IPAddress, claims: list[Claim], around: Surroundings) -> Fault | None:
    """An address of the node itself; just where we would bind it, and just so, it is adopted instead."""
    adopted = {AddressBinding(address=address, device=claim.device) for claim in claims if claim.device is not None}
    length = HOST_PREFIX_LENGTH[address.version]
    for found in sorted(around.addresses, key=lambda one: one.device):
        binding = AddressBinding(address=found.address, device=found.device)
        if found.address != address or binding in around.bound:
            continue
        if not (found.prefix_length == length and binding in adopted):
            return Fault(
                reason=Reason.ADDRESS_CONFLICT,
                message=f"{address}/{found.prefix_length} is on {found.device} of this node already and not ours: "
                "remove it there, or choose another address",
            )
    return None


def _api_server(address: IPAddress, around: Surroundings) -> str | None:
    return "is the address of an API server" if address in around.cluster.api_servers else None


def _next_hop(address: IPAddress, around: Surroundings) -> str | None:
    return "is a next hop of this node's routes" if address in around.next_hops else None


def _name_server(address: IPAddress, around: Surroundings) -> str | None:
    return "is a name server of this node" if address in around.name_servers else None


def _node(address: IPAddress, around: Surroundings) -> str | None:
    """A Node's own address; not one that may be there by our doing."""
    other = around.cluster.nodes.get(address)
    return None if other is None or other.carries else f"is an address of Node {other.node}"


def _range(address: IPAddress, around: Surroundings) -> str | None:
    return next((f"is in {network}, {what}" for network, what in _ranges(around) if address in network), None)


def _ranges(around: Surroundings) -> Iterator[tuple[IPNetwork, str]]:
    yield from around.cluster.ranges.items()
    for network in around.refused_ranges:
        yield network, "which --refuse-range names"


_RULES: Final[tuple[Callable[[IPAddress, Surroundings], str | None], ...]] = (
    _api_server,
    _next_hop,
    _name_server,
    _node,
    _range,
)
