"""Netlink framing: message headers, attributes, errors, and the generic netlink controller.

Only bytes in, bytes out. Layouts are those of linux/netlink.h and linux/genetlink.h: native byte order, attributes
padded to four bytes.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

GENL_ID_CTRL = 0x10
GENL_VERSION = 1  # of the controller and of IPVS alike
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID = 1
CTRL_ATTR_FAMILY_NAME = 2

HEADER = struct.Struct("=IHHII")
GENL_HEADER = struct.Struct("=BBH")
ATTRIBUTE = struct.Struct("=HH")
HEADERS_LENGTH = HEADER.size + GENL_HEADER.size

U16 = struct.Struct("=H")
U32 = struct.Struct("=I")
I32 = struct.Struct("=i")
U64 = struct.Struct("=Q")


class WireError(ValueError):
    """Bytes that are no netlink messages."""


class Message(NamedTuple):
    """One message out of a buffer: `start` and `end` are the payload's bounds, after the netlink header."""

    type: int
    flags: int
    sequence: int
    start: int
    end: int


def attribute(kind: int, payload: bytes) -> bytes:
    """One padded attribute."""
    return ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Attributes in an attribute; its length is a multiple of four by itself."""
    payload = b"".join(attributes)
    return ATTRIBUTE.pack(4 + len(payload), kind | NLA_F_NESTED) + payload


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attribute(kind, value.encode("ascii") + b"\0")


def generic_message(family: int, command: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """A whole generic netlink message."""
    length = HEADERS_LENGTH + len(payload)
    return HEADER.pack(length, family, flags, sequence, 0) + GENL_HEADER.pack(command, GENL_VERSION, 0) + payload


def get_family_message(name: str, sequence: int) -> bytes:
    """Ask the controller for a family by name; the kernel then tries to load the module that brings it."""
    payload = text(CTRL_ATTR_FAMILY_NAME, name)
    return generic_message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_REQUEST, sequence, payload)


def messages(buffer: memoryview) -> Iterator[Message]:
    """The messages in what one receive call returned."""
    offset, size = 0, len(buffer)
    while offset + HEADER.size <= size:
        length, kind, flags, sequence, _port = HEADER.unpack_from(buffer, offset)
        if length < HEADER.size or offset + length > size:
            raise WireError(f"netlink message of {length} bytes at {offset} in a buffer of {size}")
        yield Message(kind, flags, sequence, offset + HEADER.size, offset + length)
        offset += (length + 3) & ~3


def attributes(buffer: memoryview, start: int, end: int) -> dict[int, tuple[int, int]]:
    """Bounds of each attribute's payload, by type. Of repeated types the last counts."""
    found: dict[int, tuple[int, int]] = {}
    while start + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(buffer, start)
        if length < ATTRIBUTE.size or start + length > end:
            raise WireError(f"netlink attribute of {length} bytes at {start}, {end - start} are left")
        found[kind & NLA_TYPE_MASK] = (start + 4, start + length)
        start += (length + 3) & ~3
    return found


def error_code(buffer: memoryview, message: Message) -> int:
    """The errno of an NLMSG_ERROR as a positive number; 0 is an acknowledgement."""
    return errno_of(buffer[message.start : message.end])


def errno_of(payload: bytes | memoryview) -> int:
    """The errno at the start of an NLMSG_ERROR's or NLMSG_DONE's payload as a positive number, 0 for none."""
    if len(payload) < I32.size:
        return 0
    code: int = I32.unpack_from(payload)[0]
    return -code if code < 0 else 0


def family_id(buffer: memoryview, message: Message) -> int:
    """The number out of the controller's answer."""
    found = attributes(buffer, message.start + GENL_HEADER.size, message.end)
    number: int = U16.unpack_from(buffer, found[CTRL_ATTR_FAMILY_ID][0])[0]
    return number
