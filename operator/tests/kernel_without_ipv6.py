"""A kernel without IPv6, for one thread: socket(2) answers as where the kernel was booted with ipv6.disable=1."""

import ctypes
import errno
import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from socket import AF_INET6
from typing import Final, TypeVar

import pytest

ResultT = TypeVar("ResultT")

_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
"""The number of socket(2)."""
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _IS_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_OF_CALL, _FIRST_ARGUMENT = 0, 16
"""Offsets in struct seccomp_data."""
_REFUSE, _ALLOW = 0x00050000 | errno.EAFNOSUPPORT, 0x7FFF0000


class _Instruction(ctypes.Structure):
    """struct sock_filter of linux/filter.h."""

    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def run_without_ipv6(work: Callable[[], ResultT]) -> ResultT:
    """Run it in a thread that has no IPv6, nor have threads that it starts: filters are a thread's own (seccomp(2))."""
    with ThreadPoolExecutor(1, initializer=_refuse_ipv6_sockets) as thread:
        return thread.submit(work).result()


def _refuse_ipv6_sockets() -> None:
    instructions = (
        (_LOAD, 0, 0, _NUMBER_OF_CALL),
        (_IS_EQUAL, 0, 3, _SOCKET[platform.machine()]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IS_EQUAL, 0, 1, int(AF_INET6)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    )
    array = (_Instruction * len(instructions))(*instructions)
    program = _Program(len(instructions), array)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, f"prctl({arguments[0]}): {os.strerror(number)}")


needs_filters = pytest.mark.skipif(
    platform.machine() not in _SOCKET, reason=f"the number of socket(2) on {platform.machine()} is not known here"
)
