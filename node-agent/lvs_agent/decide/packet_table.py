"""What our table of the packet filter holds: firewall marks, source NAT, what tunnels need, as frozen values."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from lvs_agent.decide.kernel_state import IPAddress, TransportProtocol
from lvs_api.network_types import RESERVED_MARK

HANDED_ON_MARK: Final = RESERVED_MARK
"""Of what other directors hand on. Below those that the operator chooses (lvs_core.allocate)."""


class MarkRule(NamedTuple):
    """Packets to one address and port get a firewall mark before they are delivered."""

    address: IPAddress
    protocol: TransportProtocol
    port: int
    mark: int


class SourceNatRule(NamedTuple):
    """Connections to one address and port that IPVS gave to one real server. Ports 0 are every port, and kept."""

    address: IPAddress
    protocol: TransportProtocol
    port: int
    server: IPAddress
    server_port: int


class UnwrapRule(NamedTuple):
    """Wrapped packets are let in from this address, and from none that has no such rule for their protocol or UDP port.

    That goes for the family of the address; without a rule for protocol, port and family every packet is let in.
    """

    protocol: int
    source: IPAddress
    port: int = 0
    """Of protocol UDP; 0: every packet of the protocol."""


class ClampRule(NamedTuple):
    """Who opens a TCP connection with this address is told to send no larger segments than these bytes."""

    address: IPAddress
    size: int


class HandedOnRule(NamedTuple):
    """Packets to an address that another director hands on get a mark of their own, after every other mark of ours.

    They are told by its MAC address, or by the device that unwraps them.
    """

    address: IPAddress
    mac: str = ""
    """As in aa:bb:cc:dd:ee:ff; empty where there is a device."""
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRules:
    """What our table of the packet filter does; nothing: there is no table."""

    marks: frozenset[MarkRule] = frozenset()
    source_nat: frozenset[SourceNatRule] = frozenset()
    """New connections get the director's own address as their source."""
    kept_sources: frozenset[SourceNatRule] = frozenset()
    """New connections keep their source. What was source NAT before, of which connections may live on: the kernel
    rewrites these for as long as there is a chain of type nat; and what a rule of every port would catch."""
    unwraps: frozenset[UnwrapRule] = frozenset()
    """From whom this real server unwraps packets."""
    clamps: frozenset[ClampRule] = frozenset()
    """How large the segments are that clients may send to its VIPs, for they come wrapped."""
    handed_on: frozenset[HandedOnRule] = frozenset()
    """What comes from other directors, so that it is not balanced again."""

    def __bool__(self) -> bool:
        return len(self) > 0

    def is_within(self, other: "PacketRules") -> bool:
        """Whether the other one does all of this."""
        return (
            self.marks <= other.marks
            and self.source_nat <= other.source_nat
            and self.kept_sources <= other.kept_sources
            and self.unwraps <= other.unwraps
            and self.clamps <= other.clamps
            and self.handed_on <= other.handed_on
        )

    def __len__(self) -> int:
        parts = (self.marks, self.source_nat, self.kept_sources, self.unwraps, self.clamps, self.handed_on)
        return sum(len(part) for part in parts)


NO_RULES: Final = PacketRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketTable:
    """Our table of the packet filter, as it was read."""

    rules: PacketRules
    is_whole: bool = True
    """False: beside what `rules` say somebody changed something in it, or it lacks a part."""
