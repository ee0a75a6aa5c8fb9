"""Adverts as they are on the wire."""

from ipaddress import IPv4Address

from lvs_agent.decide.heard_adverts import read_advert
from support.forged_adverts import GROUP, VRRP, ForgedAdvert, internet_checksum

VIP = "192.168.67.127"
STRANGER = "192.168.67.66"


def test_an_advert_of_version_3() -> None:
    advert = ForgedAdvert(router_id=67, priority=200, addresses=(VIP,), interval_centiseconds=100)
    packet = advert.packet("192.168.67.66")
    assert packet[:6] == bytes([0x31, 67, 200, 1, 0, 100])
    assert packet[8:] == bytes([192, 168, 67, 127])
    pseudo = bytes([192, 168, 67, 66, 224, 0, 0, 18, 0, 112, 0, 12])
    assert internet_checksum(pseudo + packet) == 0


def test_a_wrong_checksum_is_wrong() -> None:
    right = ForgedAdvert(router_id=67, priority=200, addresses=(VIP,))
    wrong = ForgedAdvert(router_id=67, priority=200, addresses=(VIP,), checksum_error=1)
    assert right.packet(VIP)[:6] == wrong.packet(VIP)[:6]
    assert right.packet(VIP)[6:8] != wrong.packet(VIP)[6:8]


def test_a_director_hears_the_right_one_and_not_the_wrong_ones() -> None:
    def is_heard(advert: ForgedAdvert) -> bool:
        addresses = IPv4Address(STRANGER).packed + IPv4Address(GROUP).packed
        header = bytes([0x45, 0, 0, 32, 0, 0, 0, 0, advert.ttl, VRRP, 0, 0]) + addresses
        return read_advert(header + advert.packet(STRANGER), "eth0") is not None

    assert is_heard(ForgedAdvert(router_id=67, priority=1, addresses=(VIP,)))
    assert is_heard(ForgedAdvert(router_id=67, priority=1, addresses=(VIP,), interval_centiseconds=0))
    for error in (1, 0x100, 0xFFFE):
        assert not is_heard(ForgedAdvert(router_id=67, priority=1, addresses=(VIP,), checksum_error=error))
    assert not is_heard(ForgedAdvert(router_id=67, priority=1, addresses=(VIP,), ttl=254))
    assert not is_heard(ForgedAdvert(router_id=67, priority=1, addresses=(VIP,), version=7))
