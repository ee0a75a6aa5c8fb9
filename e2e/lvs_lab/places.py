"""Where a lab keeps what, and what it calls its parts on this machine. Pure."""

import re
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.errors import LabError
from lvs_lab.topology import Interface, Kind, Machine

RUN_ROOT = Path("/run/lvs-lab")
MEMORY_ROOT = Path("/dev/shm")
NAMESPACE_PREFIX = "lvs."
EXEC_PORT = 9
_EXEC_NETWORK = "10.255.255"
EXEC_GATE = f"{_EXEC_NETWORK}.254/24"
CONTROL_BRIDGE = "control"
EXEC_BRIDGE = "exec"


@dataclass(frozen=True, slots=True)
class Places:
    """The names that follow from a lab's name; two labs share none of them."""

    lab: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", self.lab):
            raise LabError(f"{self.lab!r} is no name for a lab (lower case letters, digits, dashes, at most 20)")

    @property
    def run(self) -> Path:
        """The lab's directory: what it is made of, process ids, logs, credentials."""
        return RUN_ROOT / self.lab

    @property
    def memory(self) -> Path:
        """The lab's files in memory: guests' memory, etcd."""
        return MEMORY_ROOT / f"lvs-lab.{self.lab}"

    @property
    def prefix(self) -> str:
        """What the names of all network namespaces of this lab start with. Lab names have no dot."""
        return f"{NAMESPACE_PREFIX}{self.lab}."

    @property
    def switches(self) -> str:
        """The namespace with the bridges; the guests' processes run in it."""
        return f"{self.prefix}net"

    @property
    def api(self) -> str:
        """The namespace of the control plane."""
        return f"{self.prefix}api"

    def namespace(self, machine: Machine) -> str:
        """The namespace that is a machine."""
        return f"{self.prefix}{machine.name}"

    def node(self, name: str) -> Path:
        """The directory of one machine; a guest sees it as /lab/node."""
        return self.run / "nodes" / name

    def state(self, name: str) -> Path:
        """What outlives a power cut of one guest: its /var/lib/lvs-agent."""
        return self.run / "state" / name

    def log(self, program: str) -> Path:
        """The log of one program of this machine."""
        return self.run / "logs" / f"{program}.log"

    @property
    def notes(self) -> Path:
        """The directory of the notes of process ids; also the mark by which the lab's processes are found."""
        return self.run / "pids"

    def pid(self, program: str) -> Path:
        """Where the process id of one program is noted."""
        return self.notes / program


def exec_address(machine: Machine) -> str:
    """A guest's address on the network of the exec channel."""
    return f"{_EXEC_NETWORK}.{machine.index}"


def segment_bridge(segments: tuple[str, ...], segment: str) -> str:
    """The bridge that is a segment; its name says the position, as segments' names may be long."""
    return f"seg{segments.index(segment)}"


def port(machine: Machine, number: int) -> str:
    """The lab's end of a machine's card: a tap of a guest, one end of a pair for a namespace."""
    return f"m{machine.index}p{number}"


def hardware_address(machine: Machine, number: int) -> str:
    """The MAC of a machine's card: locally administered, readable in captures."""
    return f"02:4c:56:00:{machine.index:02x}:{number:02x}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One virtual card of a guest, in the order of the kernel's command line."""

    device: str
    bridge: str
    interface: Interface | None


def guest_cards(machine: Machine, segments: tuple[str, ...], *, control: bool) -> tuple[Card, ...]:
    """A guest's cards: its own, then the management one of nodes, then the one of the exec channel."""
    if machine.kind is not Kind.GUEST:
        raise LabError(f"{machine.name} is not a guest")
    own = [Card(device=i.name, bridge=segment_bridge(segments, i.segment), interface=i) for i in machine.interfaces]
    if control:
        own.append(Card(device="ctl0", bridge=CONTROL_BRIDGE, interface=None))
    return (*own, Card(device="exec0", bridge=EXEC_BRIDGE, interface=None))
