"""VRRP adverts that no director sends: wrong ones, and those of a stranger (RFC 9568; IPv4)."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from lvs_lab.exec_channel import socket_in
from lvs_lab.lab_machine import LabMachine

VRRP: Final = 112
GROUP: Final = "224.0.0.18"
_TYPE_ADVERT: Final = 1
_END_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgedAdvert:
    """An advert of version 3 that is right but for what is said otherwise."""

    router_id: int
    priority: int
    addresses: tuple[str, ...]
    version: int = 3
    interval_centiseconds: int = 10
    ttl: int = 255
    checksum_error: int = 0
    """By so much the checksum is wrong."""

    def packet(self, source: str) -> bytes:
        """What follows the IP header."""
        addresses = b"".join(IPv4Address(one).packed for one in self.addresses)
        kind = self.version << 4 | _TYPE_ADVERT

        def with_checksum(checksum: int) -> bytes:
            head = (kind, self.router_id, self.priority, len(self.addresses), self.interval_centiseconds, checksum)
            return struct.pack("!BBBBHH", *head) + addresses

        body = with_checksum(0)
        pseudo = IPv4Address(source).packed + IPv4Address(GROUP).packed + struct.pack("!BBH", 0, VRRP, len(body))
        return with_checksum((internet_checksum(pseudo + body) + self.checksum_error) & 0xFFFF)


def internet_checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total ^ 0xFFFF


@dataclass(kw_only=True)
class Forgery:
    """How many have been sent."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def forging(machine: LabMachine, advert: ForgedAdvert, *, interval_seconds: float = 0.05) -> Iterator[Forgery]:
    """Send it to the multicast group of VRRP from a machine that is a namespace, for as long as the context lasts."""
    forgery, end, packet = Forgery(), threading.Event(), advert.packet(machine.ip)
    with socket_in(machine.namespace, socket.AF_INET, socket.SOCK_RAW, VRRP) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, advert.ttl)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, IPv4Address(machine.ip).packed)

        def run() -> None:
            while not end.wait(interval_seconds):
                try:
                    sender.sendto(packet, (GROUP, 0))
                    forgery.sent += 1
                except OSError as error:
                    forgery.failures.append(repr(error))

        thread = threading.Thread(target=run, name=f"forged adverts of {machine.name}", daemon=True)
        thread.start()
        try:
            yield forgery
        finally:
            end.set()
            thread.join(_END_SECONDS)
            assert not thread.is_alive(), "the forged adverts do not end"
    assert forgery.failures == [], forgery.failures[:3]
