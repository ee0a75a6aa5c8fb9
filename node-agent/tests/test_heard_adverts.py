"""Adverts of VRRP that are heard, and how long their senders are remembered."""

from ipaddress import IPv4Address

import pytest

from lvs_agent.decide.heard_adverts import MAX_SENDERS, SHORTEST_SECONDS, Advert, Sender, read_advert, remember

SOURCE = IPv4Address("192.168.67.66")
HEADER = bytes([0x45, 0xC0, 0, 32, 0, 0, 0, 0, 255, 112, 0, 0]) + SOURCE.packed + bytes([224, 0, 0, 18])
V3 = bytes([0x31, 67, 100, 1, 0, 10, 0, 0, 192, 168, 67, 127])
V2 = bytes([0x21, 67, 100, 1, 1, 3, 0, 0, 192, 168, 67, 127]) + b"1111\0\0\0\0"
SENDER = Sender("eth0", 67, SOURCE)


@pytest.mark.parametrize(
    ("packet", "interval"),
    [
        (HEADER + V3, 0.1),
        (HEADER + V3[:4] + b"\xf0\x64" + V3[6:], 1.0),
        (HEADER + V2, 3.0),
        (b"\x46" + HEADER[1:] + bytes(4) + V3, 0.1),
    ],
    ids=["version 3", "reserved bits", "version 2", "IP options"],
)
def test_adverts(packet: bytes, interval: float) -> None:
    assert read_advert(packet, "eth0") == Advert(SENDER, interval)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        HEADER,
        HEADER + V3[:7],
        HEADER[:8] + b"\xfe" + HEADER[9:] + V3,
        HEADER + b"\x71" + V3[1:],
        HEADER + b"\x32" + V3[1:],
        b"\x44" + HEADER[1:] + V3,
    ],
    ids=["nothing", "no advert", "short", "TTL 254", "version 7", "another type", "short IP header"],
)
def test_what_nobody_heeds_is_not_heard(packet: bytes) -> None:
    assert read_advert(packet, "eth0") is None


def test_a_sender_is_forgotten_when_its_adverts_stay_away() -> None:
    known = remember({}, [Advert(SENDER, 0.1)], 100.0)
    assert remember(known, [], 100.0 + SHORTEST_SECONDS - 0.1).keys() == {SENDER}
    assert remember(known, [], 100.0 + SHORTEST_SECONDS) == {}
    slow = remember({}, [Advert(SENDER, 40.0)], 100.0)
    assert remember(slow, [], 100.0 + 120.0).keys() == {SENDER}
    assert remember(slow, [Advert(SENDER, 0.1)], 101.0) == slow, "a shorter interval than it said forgets nothing"


def test_so_many_senders_are_remembered_and_no_more() -> None:
    many = [Advert(Sender("eth0", 67, IPv4Address(number)), 1.0) for number in range(1, MAX_SENDERS + 9)]
    known = remember({}, many, 0.0)
    assert len(known) == MAX_SENDERS
    again = remember(known, [Advert(SENDER, 1.0), many[0]], 5.0)
    assert SENDER not in again
    assert again[many[0].sender] > known[many[0].sender]
