"""Adverts of VRRP that are heard, and how long their senders are remembered."""

from ipaddress import IPv4Address

import pytest

from lvs_agent.decide.heard_adverts import MAX_SENDERS, SHORTEST_SECONDS, Advert, Manner, Sender, read_advert, remember

SOURCE = IPv4Address("192.168.67.66")
SENDER = Sender("eth0", 67, SOURCE)
# Sent by keepalived 2.2.7, and captured.
V2 = bytes.fromhex("45c0002800010000ff70d6a7c0a84342e0000012 2143640100017692c0a8437f0000000000000000")
V2_PASSWORD = bytes.fromhex("45c0002800010000ff70d6a7c0a84342e0000012 214464010103132dc0a8437f3131313100000000")
V3 = bytes.fromhex("45c0002400010000ff70d6abc0a84342e0000012 31456402000a7ddfc0a8437fc0a84380")
V3_UNICAST = bytes.fromhex("45c0002000010000ff70b314c0a84342c0a84305 3146640100645e17c0a8437f")
V3_OLD_UNICAST = bytes.fromhex("45c0002000010000ff70b314c0a84342c0a84305 31476401006481b1c0a8437f")
V3_IPV6 = bytes.fromhex(
    "6c01da0c002870fffe80000000000000b07b2dfffee8b2adff020000000000000000000000000012"
    "314864020064df00fe800000000000000000000000000001fd000067000000000000000000000127"
)
HEADER = 20


def changed(packet: bytes, position: int, *values: int) -> bytes:
    """With other bytes there."""
    return packet[:position] + bytes(values) + packet[position + len(values) :]


@pytest.mark.parametrize(
    ("packet", "router_id", "interval", "manner"),
    [
        (V2, 67, 1.0, Manner(2, by_multicast=True, interval_seconds=1)),
        (V2_PASSWORD, 68, 3.0, Manner(2, by_multicast=True, interval_seconds=3, password="1111")),
        (V3, 69, 0.1, Manner(3, by_multicast=True)),
        (V3_UNICAST, 70, 1.0, Manner(3, by_multicast=False)),
        (V3_OLD_UNICAST, 71, 1.0, Manner(3, by_multicast=False)),
        # The reserved bits, and what makes up for them in the checksum.
        (changed(V3, HEADER + 4, 0xF0, 0x0A, 0x8D, 0xDE), 69, 0.1, Manner(3, by_multicast=True)),
        (changed(V3[:HEADER] + bytes(4) + V3[HEADER:], 0, 0x46), 69, 0.1, Manner(3, by_multicast=True)),
        (V3 + bytes(8), 69, 0.1, Manner(3, by_multicast=True)),
    ],
    ids=[
        "version 2",
        "version 2 with a password",
        "version 3",
        "version 3 by unicast",
        "version 3 by unicast, as keepalived was until 1.3.6",
        "reserved bits",
        "IP options",
        "something behind it",
    ],
)
def test_adverts(packet: bytes, router_id: int, interval: float, manner: Manner) -> None:
    assert read_advert(packet, "eth0") == Advert(Sender("eth0", router_id, SOURCE, manner), interval)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        V3[:HEADER],
        V3[: HEADER + 7],
        V3[:-4],
        V2[:-8],
        changed(V3, 8, 254),
        changed(V3, HEADER, 0x71),
        changed(V3, HEADER, 0x32),
        changed(V3, 0, 0x44),
        V3_IPV6,
    ],
    ids=[
        "nothing",
        "no advert",
        "short",
        "without an address",
        "without the password's place",
        "TTL 254",
        "version 7",
        "another type",
        "short IP header",
        "IPv6",
    ],
)
def test_what_nobody_heeds_is_not_heard(packet: bytes) -> None:
    assert read_advert(packet, "eth0") is None


@pytest.mark.parametrize("packet", [V2, V2_PASSWORD, V3, V3_UNICAST, V3_OLD_UNICAST])
def test_what_has_a_wrong_checksum_is_not_heard(packet: bytes) -> None:
    """Whichever byte of it is another."""
    for position in range(HEADER, len(packet)):
        assert read_advert(changed(packet, position, packet[position] ^ 0x08), "eth0") is None, position


def test_the_checksum_of_version_3_covers_who_speaks_to_whom() -> None:
    """And that of version 2 does not."""
    for position in (12, 16):
        assert read_advert(changed(V3, position, V3[position] ^ 0x08), "eth0") is None
        assert read_advert(changed(V2, position, V2[position] ^ 0x08), "eth0") is not None
    assert read_advert(changed(V3_OLD_UNICAST, 16, 224, 0, 0, 19), "eth0") is None, "the old way is of unicast only"


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
