"""The seams to the neighbours on a link, in memory: announcements, the question who has an address, adverts of VRRP."""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lvs_agent.decide.claims import Claim
from lvs_agent.decide.heard_adverts import Advert
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.errors import AnnounceError, LinkNotAsked


@dataclass(kw_only=True)
class FakeAnnouncer:
    """`Announcer` that remembers; devices in `silent_devices` have no Ethernet address."""

    sent: list[tuple[str, IPAddress]] = field(default_factory=list)
    silent_devices: frozenset[str] = frozenset({"lo", "tunl0", "ip6tnl0", "gre0", "ip6gre0"})

    def announce(self, device: str, address: IPAddress) -> None:
        """Remember one announcement."""
        if device in self.silent_devices:
            raise AnnounceError(f"{device} has no Ethernet address to announce {address} with")
        self.sent.append((device, address))


@dataclass(kw_only=True)
class FakeDuplicateProbe:
    """`DuplicateProbe` among `neighbours`; devices in `silent_devices` have no Ethernet address to ask with."""

    neighbours: dict[tuple[str, IPAddress], set[bytes]] = field(default_factory=dict)
    """Who answers on a device's link for an address."""
    askers: dict[tuple[str, IPAddress], set[bytes]] = field(default_factory=dict)
    """Who asks there for an address whenever this node does."""
    down_devices: set[str] = field(default_factory=set)
    silent_devices: frozenset[str] = frozenset({"lo", "tunl0", "ip6tnl0", "gre0", "ip6gre0"})
    asked: list[tuple[str, frozenset[IPAddress]]] = field(default_factory=list)
    probed: set[tuple[str, IPAddress]] = field(default_factory=set)
    """Addresses that nobody could have taken just then, for the question was a probe."""

    async def ask(
        self,
        device: str,
        addresses: Collection[IPAddress],
        *,
        heed_probes: bool = True,
        sources: Collection[IPAddress] = (),
    ) -> Mapping[IPAddress, frozenset[bytes]]:
        """The neighbours' answers."""
        if device in self.silent_devices:
            raise LinkNotAsked(f"{device} has no Ethernet address to ask its link with")
        if device in self.down_devices:
            raise LinkNotAsked(f"the link of {device} is down: nobody on it can be asked who has the address")
        self.asked.append((device, frozenset(addresses)))
        families = {source.version for source in sources}
        self.probed |= {(device, address) for address in addresses if address.version not in families}
        askers = self.askers if heed_probes else {}
        found = {a: self.neighbours.get((device, a), set()) | askers.get((device, a), set()) for a in addresses}
        return {address: frozenset(macs) for address, macs in found.items() if macs}


@dataclass(kw_only=True)
class FakeClaims:
    """`Claims` that tests let come; heard is what is of the addresses that were asked for."""

    addresses: AbstractSet[IPAddress] = frozenset()
    waiting: set[Claim] = field(default_factory=set)

    def come(self, *claims: Claim) -> None:
        """They come in."""
        self.waiting |= {claim for claim in claims if claim.address in self.addresses}

    def hear(self, addresses: AbstractSet[IPAddress]) -> frozenset[Claim]:
        """What came since the last look."""
        heard, self.waiting, self.addresses = frozenset(self.waiting), set(), addresses
        return heard

    def close(self) -> None:
        """Hear nothing any more."""
        self.addresses, self.waiting = frozenset(), set()


@dataclass(kw_only=True)
class FakeAdverts:
    """`Adverts` that tests let come."""

    waiting: list[Advert] = field(default_factory=list)
    is_closed: bool = False

    def hear(self) -> list[Advert]:
        """What came since the last look."""
        heard, self.waiting = self.waiting, []
        return heard

    def close(self) -> None:
        """Hear nothing any more."""
        self.is_closed = True
