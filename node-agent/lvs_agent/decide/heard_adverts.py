"""Who sends adverts of VRRP on the links of this director, as they are heard: adverts read, and remembered for a while.

Pure. Of IPv4 only: adverts over IPv6 come from link-local addresses, of which nobody tells whose they are.
"""

import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from lvs_agent.decide.internet_checksum import internet_checksum

MAX_SENDERS: Final = 64
"""So many are remembered; whoever makes up more has been noticed by then."""
MISSED: Final = 3
"""A sender is forgotten when so many of its adverts did not come."""
SHORTEST_SECONDS: Final = 10.0
"""But not before that: reports take a while, too."""
_IP_HEADER: Final = 20
_VRRP_HEADER: Final = 8
_ADDRESS: Final = 4
_AUTHENTICATION: Final = 8
_BY_PASSWORD: Final = 1
_PROTOCOL: Final = 112
_GROUP: Final = IPv4Address("224.0.0.18")
_TTL: Final = 255
_V2, _V3, _ADVERT = 2, 3, 1
_CENTISECONDS: Final = 100


class Manner(NamedTuple):
    """How somebody speaks. keepalived heeds only who speaks as it does itself."""

    version: int
    by_multicast: bool
    interval_seconds: int = 0
    """Of version 2, which holds it against its own; else 0."""
    password: str | None = None
    """Of version 2, with authentication by password (RFC 2338, 5.3.6)."""


class Sender(NamedTuple):
    """Somebody who sends adverts of one virtual router."""

    device: str
    """On whose link it was heard."""
    router_id: int
    address: IPv4Address
    manner: Manner | None = None
    """None: a supervisor of an older version does not tell."""


class Advert(NamedTuple):
    """One of them."""

    sender: Sender
    interval_seconds: float
    """As it says."""


def read_advert(packet: bytes, device: str) -> Advert | None:
    """An IPv4 packet of protocol 112 with its header; None for what keepalived does not heed.

    For its TTL, version, type or checksum, that is (RFC 9568, 7.1; RFC 3768, 7.1); the rest of what it looks at is the
    sender's manner.
    """
    begin = (packet[0] & 0x0F) * 4 if packet else 0
    if begin < _IP_HEADER or len(packet) < begin + _VRRP_HEADER or packet[8] != _TTL:
        return None
    body = packet[begin:]
    version, kind = divmod(body[0], 16)
    if version not in (_V2, _V3) or kind != _ADVERT or not _is_whole(packet, body, version):
        return None
    # Version 3: four bits that mean nothing, then hundredths of a second. Version 2: the authentication, then seconds.
    interval = (int.from_bytes(body[4:6]) & 0x0FFF) / _CENTISECONDS if version == _V3 else float(body[5])
    return Advert(Sender(device, body[1], IPv4Address(packet[12:16]), _manner(packet, body, version)), interval)


def _manner(packet: bytes, body: bytes, version: int) -> Manner:
    by_multicast = IPv4Address(packet[16:20]).is_multicast
    if version == _V3:
        return Manner(version, by_multicast)
    password = None
    if body[4] == _BY_PASSWORD:
        end = _VRRP_HEADER + _ADDRESS * body[3]
        password = body[end : end + _AUTHENTICATION].rstrip(b"\0").decode("latin-1")
    return Manner(version, by_multicast, body[5], password)


def _is_whole(packet: bytes, body: bytes, version: int) -> bool:
    """Whether all of it is there, and with the checksum that its version has."""
    length = _VRRP_HEADER + _ADDRESS * body[3] + (_AUTHENTICATION if version == _V2 else 0)
    summed = body[:length]
    if len(summed) < length:
        return False
    if version == _V2:
        return internet_checksum(summed) == 0
    source, target = packet[12:16], IPv4Address(packet[16:20])
    # By unicast keepalived up to 1.3.6 sums up as if it sent to the group, and later ones heed that from their peers.
    targets = {target} if target.is_multicast else {target, _GROUP}
    tail = struct.pack("!BBH", 0, _PROTOCOL, length)
    return any(internet_checksum(source + one.packed + tail + summed) == 0 for one in targets)


def remember(known: Mapping[Sender, float], heard: Iterable[Advert], now: float) -> dict[Sender, float]:
    """Until when each sender is remembered, after adverts that have just been heard. Moments of a monotonic clock."""
    kept = {sender: until for sender, until in known.items() if until > now}
    for advert in heard:
        if advert.sender in kept or len(kept) < MAX_SENDERS:
            lasts = max((MISSED + 1) * advert.interval_seconds, SHORTEST_SECONDS)
            kept[advert.sender] = max(kept.get(advert.sender, 0.0), now + lasts)
    return kept
