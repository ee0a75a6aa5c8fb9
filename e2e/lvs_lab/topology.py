"""What a lab is made of, as a topology file says it: segments, nodes, routers, clients. Pure: text in, values out."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import yaml

from lvs_lab.errors import TopologyError
from lvs_lab.topology_fields import Fields, parse_yaml

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
InterfaceAddress = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_DEVICE = re.compile(r"[a-z][a-z0-9.]{0,9}")
_RESERVED = frozenset({"net", "api"})  # network namespaces of the lab itself
_RESERVED_DEVICES = frozenset({"lo", "ctl0", "tunl0", "exec0"})
_MAX_MACHINES = 200
_FIRST_ADDRESS = 10
"""On the management network: what is added to a machine's number."""


class Part(StrEnum):
    """What a machine is there for."""

    NODE = "node"
    ROUTER = "router"
    CLIENT = "client"


class Kind(StrEnum):
    """What a machine is made of."""

    GUEST = "guest"
    """A user-mode Linux guest with a kernel of its own."""
    NAMESPACE = "namespace"
    """A network namespace of this machine's kernel: cheap, without IPVS and netem."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """A network card of a machine."""

    name: str
    segment: str
    addresses: tuple[InterfaceAddress, ...]
    carrier: bool
    """Whether the card sits on a wire inside the guest that can be cut, made lossy and slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A static route."""

    to: Network
    via: Address


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """One node, router or client."""

    name: str
    part: Part
    kind: Kind
    index: int
    """Its number in the lab from 1: makes its addresses on the lab's own networks."""
    role: str
    kubelet: bool
    in_cluster: bool
    """Whether it has a Node object."""
    kube_proxy: str
    memory_mib: int
    interfaces: tuple[Interface, ...]
    gateways: tuple[Address, ...]
    routes: tuple[Route, ...]
    labels: tuple[tuple[str, str], ...]
    sysctls: tuple[tuple[str, str], ...]
    modules: tuple[str, ...]

    @property
    def node_addresses(self) -> tuple[Address, ...]:
        """The node's InternalIPs: the first address of each family, in the order written."""
        first: dict[int, Address] = {}
        for interface in self.interfaces:
            for address in interface.addresses:
                first.setdefault(address.version, address.ip)
        return tuple(first.values())

    @property
    def pod_network(self) -> ipaddress.IPv4Network:
        """The network of the pods on this node."""
        return ipaddress.IPv4Network(f"10.244.{self.index}.0/24")


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """A whole lab."""

    segments: tuple[str, ...]
    machines: tuple[Machine, ...]
    control_plane: bool
    control_network: ipaddress.IPv4Network
    """The management network: nodes reach the API server by it, over a card of its own (ctl0)."""

    @property
    def nodes(self) -> tuple[Machine, ...]:
        """The machines that are nodes."""
        return tuple(machine for machine in self.machines if machine.part is Part.NODE)

    @property
    def api_address(self) -> ipaddress.IPv4Address:
        """Where the API server listens."""
        return self.control_network[1]

    def control_address(self, machine: Machine) -> ipaddress.IPv4Interface:
        """A machine's address on the management network."""
        return ipaddress.IPv4Interface(
            f"{self.control_network[machine.index + _FIRST_ADDRESS]}/{self.control_network.prefixlen}"
        )

    def machine(self, name: str) -> Machine:
        """The machine of a name."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise TopologyError(f"no machine is called {name!r}; there are {', '.join(m.name for m in self.machines)}")


def parse_topology(text: str, *, where: str = "topology") -> Topology:
    """Read a topology file; what is wrong with it is a `TopologyError` that names the field."""
    fields = Fields(parse_yaml(text, where), where)
    segments = tuple(fields.text_list("segments"))
    for number, segment in enumerate(segments):
        _require_name(segment, f"{where}.segments[{number}]")
    machines: list[Machine] = []
    for part, key in ((Part.NODE, "nodes"), (Part.ROUTER, "routers"), (Part.CLIENT, "clients")):
        for name, machine_fields in fields.mappings(key):
            machines.append(_parse_machine(name, part, machine_fields, segments, index=len(machines) + 1))
    control = fields.mapping("controlPlane")
    enabled = control.boolean("enabled", default=True)
    network = control.text("network", default="10.77.0.0/24")
    control.refuse_rest()
    fields.refuse_rest()
    try:
        control_network = ipaddress.IPv4Network(network)
    except ValueError as error:
        raise TopologyError(f"{where}.controlPlane.network: {error}") from error
    topology = Topology(
        segments=segments, machines=tuple(machines), control_plane=enabled, control_network=control_network
    )
    _check_whole(topology, where)
    return topology


def _parse_machine(name: str, part: Part, fields: Fields, segments: tuple[str, ...], *, index: int) -> Machine:
    _require_name(name, fields.where)
    if name in _RESERVED:
        raise TopologyError(f"{fields.where}: the name {name!r} is the lab's own")
    kind = Kind(fields.choice("kind", tuple(Kind), default=Kind.GUEST if part is Part.NODE else Kind.NAMESPACE))
    kubelet = part is Part.NODE and fields.boolean("kubelet", default=False)
    if part is Part.NODE and kind is not Kind.GUEST:
        raise TopologyError(f"{fields.where}.kind: a node needs a kernel of its own: guest")
    carrier = kind is Kind.GUEST and fields.boolean("carrier", default=True)
    interfaces = tuple(_parse_interfaces(fields, segments, carrier=carrier))
    machine = Machine(
        name=name,
        part=part,
        kind=kind,
        index=index,
        role=fields.text("role", default=part.value),
        kubelet=kubelet,
        in_cluster=part is Part.NODE and fields.boolean("inCluster", default=True),
        kube_proxy=fields.choice("kubeProxy", ("iptables", "ipvs", "nftables", "none"), default="iptables")
        if kubelet
        else "none",
        memory_mib=fields.integer("memoryMiB", default=1024 if kubelet else 512, least=128)
        if kind is Kind.GUEST
        else 0,
        interfaces=interfaces,
        gateways=tuple(_parse_gateways(fields, interfaces)),
        routes=tuple(_parse_routes(fields, interfaces)),
        labels=fields.text_pairs("labels"),
        sysctls=fields.text_pairs("sysctls"),
        modules=tuple(fields.text_list("modules", default=())),
    )
    fields.refuse_rest()
    if kubelet and not machine.in_cluster:
        raise TopologyError(f"{fields.where}.inCluster: a kubelet makes its own Node object")
    return machine


def _parse_interfaces(fields: Fields, segments: tuple[str, ...], *, carrier: bool) -> Iterator[Interface]:
    seen = False
    for name, inner in fields.mappings("interfaces"):
        seen = True
        if not _DEVICE.fullmatch(name) or name in _RESERVED_DEVICES:
            raise TopologyError(f"{inner.where}: {name!r} can not be the name of a card")
        segment = inner.text("segment")
        if segment not in segments:
            raise TopologyError(f"{inner.where}.segment: {segment!r} is not in segments ({', '.join(segments)})")
        addresses = []
        for number, text in enumerate(inner.text_list("addresses", default=())):
            if "/" not in text:
                raise TopologyError(f"{inner.where}.addresses[{number}]: {text!r} lacks a prefix length")
            try:
                addresses.append(ipaddress.ip_interface(text))
            except ValueError as error:
                raise TopologyError(f"{inner.where}.addresses[{number}]: {error}") from error
        inner.refuse_rest()
        yield Interface(name=name, segment=segment, addresses=tuple(addresses), carrier=carrier)
    if not seen:
        raise TopologyError(f"{fields.where}.interfaces: a machine needs at least one card")


def _parse_gateways(fields: Fields, interfaces: Sequence[Interface]) -> Iterator[Address]:
    where = f"{fields.where}.gateways"
    versions: set[int] = set()
    for text in fields.text_list("gateways", default=()):
        gateway = _next_hop(text, where, interfaces)
        if gateway.version in versions:
            raise TopologyError(f"{where}: one of each family, not two of IPv{gateway.version}")
        versions.add(gateway.version)
        yield gateway


def _next_hop(text: str, where: str, interfaces: Sequence[Interface]) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise TopologyError(f"{where}: {error}") from error
    networks = [own.network for interface in interfaces for own in interface.addresses]
    if not any(address in network for network in networks):
        raise TopologyError(f"{where}: {address} is in no network of the machine's cards")
    return address


def _parse_routes(fields: Fields, interfaces: Sequence[Interface]) -> Iterator[Route]:
    for number, item in enumerate(fields.items("routes")):
        where = f"{fields.where}.routes[{number}]"
        inner = Fields(item, where)
        to, via = inner.text("to"), inner.text("via")
        inner.refuse_rest()
        try:
            network = ipaddress.ip_network(to)
        except ValueError as error:
            raise TopologyError(f"{where}.to: {error}") from error
        next_hop = _next_hop(via, f"{where}.via", interfaces)
        if next_hop.version != network.version:
            raise TopologyError(f"{where}: {network} and {next_hop} are of different families")
        yield Route(to=network, via=next_hop)


def _require_name(name: str, where: str) -> None:
    if not _NAME.fullmatch(name):
        raise TopologyError(f"{where}: {name!r} is not a name (lower case letters, digits, dashes, at most 32)")


def _check_whole(topology: Topology, where: str) -> None:
    if not topology.nodes:
        raise TopologyError(f"{where}.nodes: a lab needs at least one node")
    if len(topology.machines) > _MAX_MACHINES:
        raise TopologyError(f"{where}: more than {_MAX_MACHINES} machines")
    if topology.control_network.num_addresses < len(topology.machines) + _FIRST_ADDRESS + 2:
        raise TopologyError(
            f"{where}.controlPlane.network: {topology.control_network} has too few addresses; a /24 has enough"
        )
    repeated = [name for name, count in Counter(topology.segments).items() if count > 1]
    if repeated:
        raise TopologyError(f"{where}.segments: {', '.join(repeated)} is there twice")
    if any(node.kubelet for node in topology.nodes) and not topology.control_plane:
        raise TopologyError(f"{where}.controlPlane.enabled: kubelets need a control plane")
    _check_addresses(topology, where)


def _check_addresses(topology: Topology, where: str) -> None:
    names: set[str] = set()
    holders: dict[tuple[str, Address], str] = {}
    for machine in topology.machines:
        if machine.name in names:
            raise TopologyError(f"{where}: two machines are called {machine.name!r}")
        names.add(machine.name)
        for interface in machine.interfaces:
            for address in interface.addresses:
                holder = holders.setdefault((interface.segment, address.ip), machine.name)
                if holder != machine.name:
                    raise TopologyError(
                        f"{where}: {holder} and {machine.name} both have {address.ip} on {interface.segment}"
                    )
                if address.version == topology.control_network.version and address.network.overlaps(
                    topology.control_network
                ):
                    raise TopologyError(
                        f"{where}.controlPlane.network: {topology.control_network} overlaps {address} of {machine.name}"
                    )


def merge_topologies(texts: Sequence[str]) -> str:
    """One topology of several with machines of different names; what they say of the control plane must agree."""
    if len(texts) == 1:
        return texts[0]
    merged: dict[str, object] = {}
    for number, text in enumerate(texts):
        where = f"topology {number + 1}"
        for key, value in Fields(parse_yaml(text, where), where).rest().items():
            have = merged.setdefault(key, value)
            if have is value or have == value:
                continue
            if isinstance(have, list) and isinstance(value, list):
                merged[key] = [*have, *(item for item in value if item not in have)]
            elif isinstance(have, dict) and isinstance(value, dict) and not have.keys() & value.keys():
                merged[key] = {**have, **value}
            else:
                raise TopologyError(f"{where}.{key}: can not be laid over what the topologies before it say")
    return yaml.safe_dump(merged, sort_keys=False)


def label_map(machine: Machine) -> Mapping[str, str]:
    """The labels of a machine's Node object."""
    return {"lvs-lab.io/role": machine.role, **dict(machine.labels)}
