"""The checksum of IP's own protocols. Pure."""

import struct


def internet_checksum(data: bytes) -> int:
    """The ones' complement sum of RFC 1071; 0 over data that holds its own checksum and is as it was sent."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
