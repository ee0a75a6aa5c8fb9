"""Gives a socket a filter in classic BPF, which runs in the kernel (socket(7), SO_ATTACH_FILTER; linux/filter.h)."""

import ctypes
import socket
import struct
from typing import Final

_SO_ATTACH_FILTER: Final = 26
_INSTRUCTION_LENGTH: Final = 8


def attach_filter(opened: socket.socket, program: bytes) -> None:
    """Let in only what the program, `struct sock_filter` one after another, lets in. Raises OSError."""
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("@HP", len(program) // _INSTRUCTION_LENGTH, ctypes.addressof(buffer))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
