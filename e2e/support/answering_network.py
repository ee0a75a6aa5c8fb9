"""A network that answers ARP for others: local proxy ARP of a private VLAN, or a fabric with an old entry."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Final

from lvs_lab.exec_channel import socket_in
from lvs_lab.lab_machine import LabMachine

_ETHERTYPE_ARP: Final = 0x0806
_REQUEST, _REPLY = 1, 2
_ETHERNET: Final = struct.Struct("!6s6sH")
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_LONGEST: Final = 2048
_LOOK_SECONDS: Final = 0.1
_END_SECONDS: Final = 10.0


@contextmanager
def answering_network(
    machine: LabMachine, address: str, mac: str, *, learns: bool = False, device: str = "eth0"
) -> Iterator[None]:
    """Answer by this MAC address whoever asks for an IPv4 address, probes too, from a machine that is a namespace.

    With `learns` as a fabric that suppresses ARP: until somebody says that the address is his.
    """
    end, own, wanted = threading.Event(), bytes.fromhex(mac.replace(":", "")), IPv4Address(address).packed
    with socket_in(machine.namespace, socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((device, _ETHERTYPE_ARP))
        link.settimeout(_LOOK_SECONDS)

        def run() -> None:
            while not end.is_set():
                try:
                    frame, where = link.recvfrom(_LONGEST)
                except TimeoutError:
                    continue
                if where[2] == socket.PACKET_OUTGOING or len(frame) < _ETHERNET.size + _ARP.size:
                    continue
                _, _, _, _, operation, asker, sender, _, target = _ARP.unpack_from(frame, _ETHERNET.size)
                if learns and sender == wanted:
                    return
                if operation == _REQUEST and target == wanted and sender != wanted:
                    link.send(_reply(own, wanted, asker, sender))

        thread = threading.Thread(target=run, name=f"the network that answers for {address}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join(_END_SECONDS)
            assert not thread.is_alive(), "the network does not end to answer"


def _reply(mac: bytes, address: bytes, asker: bytes, sender: bytes) -> bytes:
    """An Ethernet frame with an ARP reply (RFC 826)."""
    body = _ARP.pack(1, 0x0800, 6, 4, _REPLY, mac, address, asker, sender)
    return _ETHERNET.pack(asker, mac, _ETHERTYPE_ARP) + body
