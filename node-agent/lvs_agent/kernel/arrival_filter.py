"""A filter in the kernel's classic BPF that lets in first packets of connections, and datagrams, for some addresses.

It runs for every packet that comes in while somebody listens (linux/filter.h; Documentation/networking/filter.rst), so
what is not meant is turned away early. Packets begin with their IP header, as a socket of kind SOCK_DGRAM shows them.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from lvs_agent.decide.kernel_state import IPV4, IPAddress, ServiceKey, TransportProtocol

MOST_FRONTS: Final = 64
"""Each costs up to a dozen instructions, of which a filter may have 4096; and a jump goes 255 far."""
SNAPSHOT: Final = 96
"""Bytes of each packet: the longest IPv4 header and both ports are in it."""
_LOAD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_AT_X, _LOAD_BYTE_AT_X = 0x48, 0x50
_LOAD_MEMORY, _STORE = 0x60, 0x02
_X, _X_HEADER_LENGTH, _X_MEMORY = 0x01, 0xB1, 0x61
_AND, _OR_X, _LEFT, _RIGHT = 0x54, 0x4C, 0x64, 0x74
_JUMP, _EQUAL, _ANY_BIT, _RETURN = 0x05, 0x15, 0x45, 0x06
_ANCILLARY: Final = 0xFFFFF000
"""SKF_AD_OFF: what the kernel knows beside the packet's bytes."""
_ETHERTYPE, _PACKET_TYPE, _INDEX, _VLAN = _ANCILLARY, _ANCILLARY + 4, _ANCILLARY + 8, _ANCILLARY + 44
_TO_THIS_HOST, _LOOPBACK_INDEX = 0, 1
_VLAN_ID: Final = 0x0FFF
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_FRAGMENT: Final = 0x3FFF
"""More fragments, or an offset."""
_TCP_FLAGS, _SYN, _SYN_ACK_RST_FIN = 13, 0x02, 0x17
_SCTP_CHUNK, _INIT = 12, 1


class _Instruction(NamedTuple):
    code: int
    if_so: int = 0
    if_not: int = 0
    value: int = 0


_Program = list[_Instruction]
_ACCEPT: Final = _Instruction(_RETURN, value=SNAPSHOT)
_DROP: Final = _Instruction(_RETURN)


def arrival_filter(fronts: Iterable[ServiceKey]) -> bytes:
    """The program, as `struct sock_filter` one after another; port 0 stands for every port.

    Of packets to this host's own MAC address, on every device but lo. A tagged frame is seen where the device of its
    VLAN has it. Fragments and extension headers of IPv6 are left aside. Raises ValueError for more than `MOST_FRONTS`.
    """
    wanted = sorted(set(fronts), key=lambda one: one.identity)
    if len(wanted) > MOST_FRONTS:
        raise ValueError(f"{len(wanted)} fronts are more than {MOST_FRONTS}")
    ipv4 = [front for front in wanted if front.address.version == IPV4]
    ipv6 = [front for front in wanted if front.address.version != IPV4]
    program = [
        *_require(_PACKET_TYPE, _TO_THIS_HOST),
        _Instruction(_LOAD, value=_INDEX),
        _Instruction(_EQUAL, 0, 1, _LOOPBACK_INDEX),
        _DROP,
        _Instruction(_LOAD, value=_VLAN),
        _Instruction(_AND, value=_VLAN_ID),
        *_unless_equal(0),
    ]
    # Of each family a part that ends by itself; a part may be longer than a jump, so it is turned away at its begin.
    for ethertype, part in ((_ETH_P_IP, _ipv4_part(ipv4)), (_ETH_P_IPV6, _ipv6_part(ipv6))):
        program += [
            _Instruction(_LOAD, value=_ETHERTYPE),
            _Instruction(_EQUAL, 1, 0, ethertype),
            _Instruction(_JUMP, value=len(part)),
            *part,
        ]
    program.append(_DROP)
    return b"".join(struct.pack("=HBBI", *one) for one in program)


def _ipv4_part(fronts: Sequence[ServiceKey]) -> _Program:
    return [
        _Instruction(_LOAD_HALF, value=6),
        _Instruction(_ANY_BIT, 0, 1, _FRAGMENT),
        _DROP,
        _Instruction(_X_HEADER_LENGTH),
        _Instruction(_LOAD_BYTE, value=9),
        *_begins_something(),
        *_one_of(fronts, 16),
        _DROP,
    ]


def _ipv6_part(fronts: Sequence[ServiceKey]) -> _Program:
    return [
        _Instruction(_X, value=40),
        _Instruction(_LOAD_BYTE, value=6),
        *_begins_something(),
        *_one_of(fronts, 24),
        _DROP,
    ]


def _begins_something() -> _Program:
    """The protocol is loaded and X is at the transport header; leaves protocol and port in memory.

    Of TCP SYN alone, of SCTP INIT: what IPVS makes a connection of.
    """
    return [
        _Instruction(_STORE),
        _Instruction(_EQUAL, 0, 4, TransportProtocol.TCP),
        _Instruction(_LOAD_BYTE_AT_X, value=_TCP_FLAGS),
        _Instruction(_AND, value=_SYN_ACK_RST_FIN),
        *_unless_equal(_SYN),
        _Instruction(_LOAD_MEMORY),
        _Instruction(_EQUAL, 0, 3, TransportProtocol.SCTP),
        _Instruction(_LOAD_BYTE_AT_X, value=_SCTP_CHUNK),
        *_unless_equal(_INIT),
        _Instruction(_LOAD_MEMORY),
        _Instruction(_LEFT, value=16),
        _Instruction(_STORE),
        _Instruction(_LOAD_HALF_AT_X, value=2),
        _Instruction(_X_MEMORY),
        _Instruction(_OR_X),
        _Instruction(_STORE),
    ]


def _one_of(fronts: Sequence[ServiceKey], destination: int) -> _Program:
    """Accept what goes to one of these; `destination` is where the header has the address."""
    by_address: dict[IPAddress, list[ServiceKey]] = {}
    for front in fronts:
        by_address.setdefault(front.address, []).append(front)
    program: _Program = []
    for address, there in by_address.items():
        ports = _ports(there)
        packed = address.packed
        for at in reversed(range(0, len(packed), 4)):
            word = int.from_bytes(packed[at : at + 4], "big")
            compare = [_Instruction(_LOAD, value=destination + at), _Instruction(_EQUAL, 0, len(ports), word)]
            ports = compare + ports
        program += ports
    return program


def _ports(fronts: Sequence[ServiceKey]) -> _Program:
    program = [_Instruction(_LOAD_MEMORY)]
    for front in fronts:
        if front.port:
            program += [_Instruction(_EQUAL, 0, 1, front.protocol << 16 | front.port), _ACCEPT]
    program.append(_Instruction(_RIGHT, value=16))
    for front in fronts:
        if not front.port:
            program += [_Instruction(_EQUAL, 0, 1, front.protocol), _ACCEPT]
    return program


def _require(what: int, value: int) -> _Program:
    return [_Instruction(_LOAD, value=what), *_unless_equal(value)]


def _unless_equal(value: int) -> _Program:
    """Turn the packet away unless this is what is loaded."""
    return [_Instruction(_EQUAL, 1, 0, value), _DROP]
