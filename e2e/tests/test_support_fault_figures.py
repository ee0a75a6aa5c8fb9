"""Judging who owned an address around a fault."""

import pytest

from support.fault_figures import Heard, Sign, Span, longest_silence, read_packet, seconds_together, spans, timeline

ONE, TWO = "02:4c:56:00:01:00", "02:4c:56:00:02:00"
WATCHER = "02:4c:56:00:09:00"
VIP = "192.168.67.127"


TO_ALL = f"{TWO} > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42"
TO_ONE = f"{TWO} > {WATCHER}, ethertype ARP (0x0806), length 60"
ADVERT = f"{ONE} > 01:00:5e:00:00:12, ethertype IPv4 (0x0800), length 46: 192.168.67.2 > 224.0.0.18"


@pytest.mark.parametrize(
    ("packet", "sign"),
    [
        (f"{ADVERT}: VRRPv3, Advertisement, vrid 67, prio 150, intvl 10cs, length 12", Sign.ADVERT),
        (f"{ADVERT}: vrrp 192.168.67.2 > 224.0.0.18: VRRPv3, Advertisement, (ttl 254), vrid 67, prio 150", Sign.ADVERT),
        (f"{ADVERT}: VRRPv3, Advertisement, vrid 68, prio 150, intvl 10cs, length 12", None),
        (f"{TO_ONE}: Reply {VIP} is-at {TWO}, length 46", Sign.ANSWER),
        (f"{TO_ALL}: Reply {VIP} is-at {TWO}, length 46", Sign.GRATUITOUS),
        (f"{TO_ALL}: Request who-has {VIP} (ff:ff:ff:ff:ff:ff) tell {VIP}, length 28", Sign.GRATUITOUS),
        (f"{TO_ALL}: Announcement {VIP}, length 28", Sign.GRATUITOUS),
        (f"{TO_ALL}: Request who-has {VIP} tell 192.168.67.30, length 28", None),
        (f"{TO_ONE}: Reply {VIP}0 is-at {TWO}, length 46", None),
    ],
)
def test_packets_as_tcpdump_writes_them(packet: str, sign: Sign | None) -> None:
    mac = packet.split(maxsplit=1)[0]
    wanted = None if sign is None else Heard(18.5, mac, sign, 150 if sign is Sign.ADVERT else 0)
    assert read_packet(f"18.5 {packet}", VIP, 67) == wanted


def test_what_is_no_packet_claims_nothing() -> None:
    assert read_packet("listening on eth0", VIP, 67) is None


def adverts(mac: str, *moments: float, priority: int = 100) -> list[Heard]:
    return [Heard(at, mac, Sign.ADVERT, priority) for at in moments]


def test_one_after_the_other() -> None:
    heard = [*adverts(ONE, 1.0, 1.1, 1.2), *adverts(TWO, 1.6, 1.7), Heard(1.3, TWO, Sign.ANSWER)]
    owned = spans(heard, Sign.ADVERT, 0.35)
    assert owned == [Span(mac=ONE, begin=1.0, end=1.2), Span(mac=TWO, begin=1.6, end=1.7)]
    assert seconds_together(owned) == 0
    assert list(timeline(owned, {ONE: "one"}, 1.1)) == ["one -0.100 to +0.100", f"{TWO} +0.500 to +0.600"]


def test_one_who_pauses_or_lets_go_begins_anew() -> None:
    owned = spans(adverts(ONE, 1.0, 1.1, 2.0, 2.1), Sign.ADVERT, 0.35)
    assert [(span.begin, span.end) for span in owned] == [(1.0, 1.1), (2.0, 2.1)]
    heard = [*adverts(ONE, 1.0, 1.1), *adverts(ONE, 1.15, priority=0), *adverts(ONE, 1.2)]
    assert [(span.begin, span.end) for span in spans(heard, Sign.ADVERT, 0.35)] == [(1.0, 1.15), (1.2, 1.2)]


def test_two_at_once_are_seen() -> None:
    owned = spans([*adverts(ONE, 1.0, 1.2, 1.4), *adverts(TWO, 1.25, 1.35, 1.6)], Sign.ADVERT, 0.35)
    assert seconds_together(owned) == pytest.approx(0.15)


def test_silence_counts_to_the_end() -> None:
    assert longest_silence([1.0, 1.25, 1.3], 1.4) == pytest.approx(0.25)
    assert longest_silence([1.0, 1.25], 9.25) == pytest.approx(8.0)
    assert longest_silence([1.3, 1.0], 1.3) == pytest.approx(0.3)
