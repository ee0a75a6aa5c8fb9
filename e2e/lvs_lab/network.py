"""The lab's network on this machine: namespaces, a bridge per segment, taps and pairs.

Nothing outside those namespaces is touched.
"""

import os
from collections.abc import Iterator

from lvs_lab.host_commands import NETNS_DIRECTORY, run
from lvs_lab.ip_lines import address_lines, route_lines, sysctl_values
from lvs_lab.places import (
    CONTROL_BRIDGE,
    EXEC_BRIDGE,
    EXEC_GATE,
    Places,
    guest_cards,
    hardware_address,
    port,
    segment_bridge,
)
from lvs_lab.processes import mark
from lvs_lab.topology import Kind, Machine, Part, Topology

API_DEVICE = "ctl0"


def build(places: Places, topology: Topology) -> None:
    """Make all namespaces, bridges, taps and pairs."""
    _batch(places, None, [f"netns add {name}" for name in wanted_namespaces(places, topology)])
    _quiet_switches(places)
    _batch(places, places.switches, list(_switch_lines(places, topology)))
    api = [
        f"addr add {topology.api_address}/{topology.control_network.prefixlen} dev {API_DEVICE}",
        f"link set {API_DEVICE} up",
    ]
    _batch(places, places.api, ["link set lo up", *api, *_api_routes(topology)])
    for machine in topology.machines:
        if machine.kind is Kind.NAMESPACE:
            _set_up_namespace(places, machine)


def _quiet_switches(places: Places) -> None:
    """The bridges are switches: no address of their own, so that nothing of theirs is heard on a segment."""
    run(
        ["sysctl", "--quiet", "--write", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1"],
        netns=places.switches,
    )


def _switch_lines(places: Places, topology: Topology) -> Iterator[str]:
    yield "link set lo up"
    bridges = [segment_bridge(topology.segments, segment) for segment in topology.segments]
    for bridge in (*bridges, CONTROL_BRIDGE, EXEC_BRIDGE):
        yield f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        yield f"link set {bridge} up"
    yield f"addr add {EXEC_GATE} dev {EXEC_BRIDGE}"
    yield f"link add api0 type veth peer name {API_DEVICE} netns {places.api}"
    yield f"link set api0 master {CONTROL_BRIDGE} up"
    for machine in topology.machines:
        if machine.kind is Kind.GUEST:
            for number, card in enumerate(
                guest_cards(machine, topology.segments, control=on_control_network(topology, machine))
            ):
                yield f"tuntap add dev {port(machine, number)} mode tap"
                yield f"link set {port(machine, number)} master {card.bridge} up"
        else:
            for number, interface in enumerate(machine.interfaces):
                near, bridge = port(machine, number), segment_bridge(topology.segments, interface.segment)
                mac = hardware_address(machine, number)
                peer = f"peer name {interface.name} address {mac} netns {places.namespace(machine)}"
                yield f"link add {near} type veth {peer}"
                yield f"link set {near} master {bridge} up"


def on_control_network(topology: Topology, machine: Machine) -> bool:
    """Whether a machine has a card on the management network: the nodes of the cluster do."""
    return topology.control_plane and machine.part is Part.NODE and machine.in_cluster


def _api_routes(topology: Topology) -> Iterator[str]:
    """The way to nodes by the addresses that their Node objects tell, and to pods, over the management network."""
    for node in topology.nodes:
        if on_control_network(topology, node):
            via = topology.control_address(node).ip
            networks = [f"{address}/32" for address in node.node_addresses if address.version == 4]
            for network in [*networks, *([str(node.pod_network)] if node.kubelet else [])]:
                yield f"route replace {network} via {via}"


def _set_up_namespace(places: Places, machine: Machine) -> None:
    lines = ["link set lo up"]
    for interface in machine.interfaces:
        lines += address_lines(interface)
    sysctls = sysctl_values(machine)
    if sysctls:
        words = [f"{key}={value}" for key, value in sysctls.items()]
        run(["sysctl", "--quiet", "--write", *words], netns=places.namespace(machine))
    _batch(places, places.namespace(machine), [*lines, *route_lines(machine)])


def _batch(places: Places, namespace: str | None, lines: list[str]) -> None:
    where = [] if namespace is None else ["-n", namespace]
    # With the lab's mark: when `up` is killed meanwhile, `down` ends this, too, before it looks what is there.
    environment = {**os.environ, **mark(places.notes)}
    run(["ip", *where, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines), env=environment)


def wanted_namespaces(places: Places, topology: Topology) -> list[str]:
    """The namespaces that a lab consists of."""
    machines = [places.namespace(machine) for machine in topology.machines if machine.kind is Kind.NAMESPACE]
    return [places.switches, places.api, *machines]


def namespaces(places: Places) -> list[str]:
    """The namespaces of this lab that exist, whoever left them."""
    if not NETNS_DIRECTORY.is_dir():
        return []
    return sorted(entry.name for entry in NETNS_DIRECTORY.iterdir() if entry.name.startswith(places.prefix))


def remove(places: Places) -> None:
    """Remove the namespaces; bridges, taps and pairs go with them."""
    for name in namespaces(places):
        run(["ip", "netns", "delete", name])
