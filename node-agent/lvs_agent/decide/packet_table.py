"""What our table of the packet filter holds: firewall marks, and source NAT, as frozen values."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from lvs_agent.decide.kernel_state import IPAddress, TransportProtocol


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRules:
    """What our table of the packet filter does; nothing: there is no table."""

    marks: frozenset[MarkRule] = frozenset()
    source_nat: frozenset[SourceNatRule] = frozenset()
    """New connections get the director's own address as their source."""
    kept_sources: frozenset[SourceNatRule] = frozenset()
    """New connections keep their source. What was source NAT before, of which connections may live on: the kernel
    rewrites these for as long as there is a chain of type nat; and what a rule of every port would catch."""

    def __bool__(self) -> bool:
        return bool(self.marks or self.source_nat or self.kept_sources)

    def is_within(self, other: "PacketRules") -> bool:
        """Whether the other one does all of this."""
        return (
            self.marks <= other.marks
            and self.source_nat <= other.source_nat
            and self.kept_sources <= other.kept_sources
        )

    def __len__(self) -> int:
        return len(self.marks) + len(self.source_nat) + len(self.kept_sources)


NO_RULES: Final = PacketRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketTable:
    """Our table of the packet filter, as it was read."""

    rules: PacketRules
    is_whole: bool = True
    """False: beside what `rules` say somebody changed something in it, or it lacks a part."""
