"""The script that makes a booted guest the node that the topology says. Pure: a machine in, a shell script out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.ip_lines import address_lines, route_lines, sysctl_values
from lvs_lab.places import EXEC_PORT, Card, exec_address, hardware_address
from lvs_lab.topology import Machine, Topology

STATE_DIRECTORY = "/var/lib/lvs-agent"
SETUP_ERRORS = "/run/lab-setup-errors"
"""In the guest: what the commands of its set-up complained of."""
LAB_NAMESPACE = "lab"  # in the guest: the exec channel's card, and the far ends of cards with a wire


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A directory of this machine that a guest sees."""

    source: Path
    target: str
    writable: bool = False


def setup_script(topology: Topology, machine: Machine, cards: Sequence[Card], mounts: Sequence[Mount]) -> str:
    """The whole script; init runs it once, as part of itself."""
    links: list[str] = ["link set lo up"]
    inner: list[str] = ["link set lo up"]
    wires: list[str] = []
    for number, card in enumerate(cards):
        if card.device == "exec0":
            links.append(f"link set vec{number} netns {LAB_NAMESPACE} name exec0")
            inner += [f"addr add {exec_address(machine)}/24 dev exec0", "link set exec0 up"]
        elif card.interface is None:
            links += [
                f"link set vec{number} name {card.device}",
                f"addr add {topology.control_address(machine)} dev {card.device}",
            ]
            links.append(f"link set {card.device} up")
        elif card.interface.carrier:
            links += _wired_card(machine, number, card.device)
            inner += [f"link set port-{card.device} up promisc on", f"link set wire-{card.device} up"]
            wires += _wire(card.device)
            links += address_lines(card.interface)
        else:
            links.append(f"link set vec{number} name {card.device}")
            links += address_lines(card.interface)
    lines = [
        f"exec 2> {SETUP_ERRORS}",
        f"hostname {machine.name}",
        f"echo {machine.name} > /etc/hostname",
        "echo '127.0.0.1 localhost' > /etc/hosts",
        *(f"echo '{address} {machine.name}' >> /etc/hosts" for address in machine.node_addresses),
        f"echo {machine.name} | md5sum | cut -c1-32 > /etc/machine-id",
        ": > /etc/resolv.conf",
        *_mount_lines(mounts),
        f"ip netns add {LAB_NAMESPACE}",
        *_batch("ip -batch -", links),
        *_batch(f"ip -n {LAB_NAMESPACE} -batch -", inner),
        *(_batch(f"tc -n {LAB_NAMESPACE} -batch -", wires) if wires else ()),
        *_batch("ip -batch -", list(route_lines(machine))),
        *(f"sysctl --quiet --write '{key}={value}'" for key, value in sysctl_values(machine).items()),
        *(f"modprobe {module}" for module in machine.modules),
        "exec 2>&1",
        f"/lab/guest-exec {exec_address(machine)}:{EXEC_PORT} /run/netns/{LAB_NAMESPACE} &",
    ]
    return "".join(f"{line}\n" for line in lines)


def _wired_card(machine: Machine, number: int, device: str) -> list[str]:
    """The guest's card is one end of a pair, whose other end is joined to the virtual card: so a carrier can go away.

    The virtual cards of user-mode Linux always report carrier.
    """
    mac = hardware_address(machine, number)
    return [
        f"link set vec{number} netns {LAB_NAMESPACE} name port-{device}",
        f"link add {device} address {mac} type veth peer name wire-{device} netns {LAB_NAMESPACE}",
    ]


def _wire(device: str) -> list[str]:
    """Join both devices by redirection: unlike a bridge it learns nothing, and queues can delay either way."""
    ends = (f"port-{device}", f"wire-{device}")
    lines = []
    for here, there in (ends, ends[::-1]):
        lines.append(f"qdisc add dev {here} clsact")
        lines.append(f"filter add dev {here} ingress matchall action mirred egress redirect dev {there}")
    return lines


def _mount_lines(mounts: Sequence[Mount]) -> Iterator[str]:
    for mount in mounts:
        mode = "rw" if mount.writable else "ro"
        yield f"mkdir -p {mount.target} && mount -t hostfs -o {mode},hostfs={mount.source} none {mount.target}"


def _batch(command: str, lines: Sequence[str]) -> list[str]:
    return [f"{command} <<'END'", *lines, "END"] if lines else []
