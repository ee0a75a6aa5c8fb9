"""Adverts as they are on the wire."""

from support.forged_adverts import ForgedAdvert, internet_checksum

VIP = "192.168.67.127"


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
