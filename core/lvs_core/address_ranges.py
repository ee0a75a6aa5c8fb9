"""Ranges of addresses as LvsAddressPools name them: what is in them, and what of them may be given out."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

from lvs_api.network_types import Family

_POINT_TO_POINT = 2
"""So many addresses at most have neither a network's address nor a broadcast one among them (RFC 3021, RFC 6164)."""

_NO_HOSTS: Final = (
    "0.0.0.0/32 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 255.255.255.255/32",
    "::/127 ::ffff:0:0/96 fe80::/10 ff00::/8",
)
"""What no host can have, in order: all else is a UsableIpAddress."""


class AddressRange(NamedTuple):
    """Addresses that follow one another, as numbers."""

    family: Family
    first: int
    last: int
    is_network: bool
    """It was a CIDR, which may be that of a network on a link."""

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str):
            return False
        family, number = numbered(address)
        return family is self.family and self.first <= number <= self.last

    @property
    def size(self) -> int:
        """How many addresses there are."""
        return self.last - self.first + 1

    @property
    def given(self) -> range:
        """Those that are given out: not what may be a network's own address, or its broadcast address."""
        if not self.is_network or self.size <= _POINT_TO_POINT:
            return range(self.first, self.last + 1)
        return range(self.first + 1, self.last if self.family is Family.IPV4 else self.last + 1)

    @property
    def for_hosts(self) -> Iterator[range]:
        """What of `given` a host can have: 127.0.0.0/8 within a wider range, say, is left out."""
        start, stop = self.given.start, self.given.stop
        for first, last in _no_hosts(self.family):
            if first < stop and last >= start:
                yield range(start, first)
                start = last + 1
        yield range(start, stop)


@lru_cache(maxsize=65536)
def numbered(address: str) -> tuple[Family, int]:
    """The family of an address that was found good before, and its number. Every round asks the same."""
    read = ip_address(address)
    return Family.IPV4 if read.version == 4 else Family.IPV6, int(read)  # noqa: PLR2004 -- IP version 4


@lru_cache(maxsize=1024)
def read_range(text: str) -> AddressRange:
    """A range that was found good before: a CIDR, or two addresses."""
    if "/" in text:
        network = ip_network(text)
        family, first = numbered(str(network.network_address))
        return AddressRange(family, first, int(network.broadcast_address), is_network=True)
    lower, _, upper = text.partition("-")
    family, first = numbered(lower)
    return AddressRange(family, first, numbered(upper)[1], is_network=False)


def candidates(ranges: Iterable[AddressRange], family: Family, digest: int) -> Iterator[str]:
    """Every address of a family that ranges give to hosts, from the one that a hash finds on, and round once."""
    spans = [span for one in ranges if one.family is family for span in one.for_hosts]
    total = sum(map(_length, spans))
    if not total:
        return
    start = digest % total
    for begin, end in ((start, total), (0, start)):
        position = 0
        for span in spans:
            length = _length(span)
            for number in range(span.start + max(begin - position, 0), span.start + min(end - position, length)):
                yield str(IPv4Address(number) if family is Family.IPV4 else IPv6Address(number))
            position += length


@lru_cache
def _no_hosts(family: Family) -> tuple[tuple[int, int], ...]:
    """The first and the last of each block that no host can have, as numbers."""
    networks = map(ip_network, _NO_HOSTS[family is Family.IPV6].split())
    return tuple((int(one.network_address), int(one.broadcast_address)) for one in networks)


def _length(span: range) -> int:
    """Its length, which `len` has no room for where it is of IPv6."""
    return max(span.stop - span.start, 0)


def count(ranges: Iterable[AddressRange]) -> int:
    """How many addresses ranges have together; what is in several counts once."""
    total = 0
    reached: tuple[Family, int] | None = None
    for one in sorted(ranges):
        first = one.first if reached is None or reached[0] is not one.family else max(one.first, reached[1] + 1)
        total += max(one.last - first + 1, 0)
        last = one.last if reached is None or reached[0] is not one.family else max(one.last, reached[1])
        reached = (one.family, last)
    return total
