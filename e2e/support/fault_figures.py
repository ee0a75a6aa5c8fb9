"""What was heard and answered around a fault, judged afterwards: who owned an address at each instant. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

_HEAD: Final = re.compile(r"(?P<at>\d+\.\d+) (?P<mac>[0-9a-f:]{17}) > (?P<to>[0-9a-f:]{17}),.*?: (?P<rest>.*)")
_ADVERT: Final = re.compile(r"VRRPv\d, Advertisement, .*?vrid (?P<id>\d+), prio (?P<priority>\d+)")
_BROADCAST: Final = "ff:ff:ff:ff:ff:ff"


class Sign(StrEnum):
    """By what somebody says that an address is his."""

    ADVERT = "advert"
    ANSWER = "ARP answer"
    """To one who asked."""
    GRATUITOUS = "gratuitous ARP"


class Heard(NamedTuple):
    """One packet by which somebody claims an address."""

    at: float
    """Seconds since 1970."""
    mac: str
    sign: Sign
    priority: int = 0
    """Of an advert; with 0 a Master lets go."""


def read_packet(line: str, vip: str, router_id: int) -> Heard | None:
    """A packet as `tcpdump -n -e -tt` writes it; None where it claims nothing."""
    head = _HEAD.match(line)
    if head is None:
        return None
    at, mac, rest = float(head["at"]), head["mac"], head["rest"]
    if advert := _ADVERT.search(rest):
        return Heard(at, mac, Sign.ADVERT, int(advert["priority"])) if int(advert["id"]) == router_id else None
    if re.search(rf"Reply {re.escape(vip)} is-at", rest):
        return Heard(at, mac, Sign.GRATUITOUS if head["to"] == _BROADCAST else Sign.ANSWER)
    # Newer ones write "Announcement" for a request of one's own address.
    asked = (
        rf"(?:Announcement {re.escape(vip)}\b|Request who-has {re.escape(vip)} (?:\([^)]*\) )?tell {re.escape(vip)}\b)"
    )
    return Heard(at, mac, Sign.GRATUITOUS) if re.search(asked, rest) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A time for which somebody claimed an address without a pause."""

    mac: str
    begin: float
    end: float


def spans(heard: Iterable[Heard], sign: Sign, pause: float) -> list[Span]:
    """Who claimed it from when to when, by signs of one kind, sorted by their begin.

    After `pause` seconds without a sign the time is over, and with an advert of priority 0 at once.
    """
    found: list[Span] = []
    running: dict[str, Span] = {}
    for one in sorted(heard):
        if one.sign is not sign:
            continue
        before = running.pop(one.mac, None)
        if before is not None and (one.at - before.end > pause):
            found.append(before)
            before = None
        begin = one.at if before is None else before.begin
        span = Span(mac=one.mac, begin=begin, end=one.at)
        if sign is Sign.ADVERT and one.priority == 0:
            found.append(span)
        else:
            running[one.mac] = span
    return sorted([*found, *running.values()], key=lambda span: (span.begin, span.mac))


def seconds_together(owned: Sequence[Span]) -> float:
    """For how long at least two claimed it at once."""
    edges = sorted(edge for span in owned for edge in ((span.begin, 1), (span.end, -1)))
    together, depth = 0.0, 0
    for (at, step), (after, _) in pairwise(edges):
        depth += step
        if depth > 1:
            together += after - at
    return together


def longest_silence(replies: Sequence[float], ended: float) -> float:
    """The longest time without a reply, to the end of the probing."""
    ordered = sorted(replies)
    return max((after - before for before, after in pairwise([*ordered, max([ended, *ordered])])), default=0.0)


def timeline(owned: Iterable[Span], names: dict[str, str], origin: float) -> Iterator[str]:
    """Each time in words, in seconds since the origin."""
    for span in owned:
        yield f"{names.get(span.mac, span.mac)} {span.begin - origin:+.3f} to {span.end - origin:+.3f}"
