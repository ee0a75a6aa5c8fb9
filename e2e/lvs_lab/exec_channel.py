"""The exec channel: run a command in a guest over its management card. The other end is guest_exec/main.go."""

import ctypes
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from lvs_lab.errors import CommandError, ExecError
from lvs_lab.host_commands import NETNS_DIRECTORY

_HEADER = struct.Struct(">BI")
_CLONE_NEWNET = 0x40000000
_STDIN_CHUNK = 65536
_LOOK_SECONDS = 1.0
"""How often a silent guest's power is looked at: one that was cut off says nothing any more."""


class Stream(IntEnum):
    """The kinds of frames."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecResult:
    """How a command on a machine ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.returncode == 0


def socket_in(
    namespace: str,
    family: socket.AddressFamily = socket.AF_INET,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    protocol: int = 0,
) -> socket.socket:
    """A socket that lives in a named network namespace, made by a thread that goes there and comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(NETNS_DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(libc, other)
            try:
                return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
            finally:
                _enter(libc, own)
        finally:
            os.close(other)
    finally:
        os.close(own)


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


class Connection:
    """One command in a guest. Leaving the `with` block before it ended kills its process group."""

    def __init__(self, channel: "ExecChannel", request: Mapping[str, object], *, connect_timeout: float) -> None:
        self._machine = channel.machine
        self._power = channel.power
        self._boot = channel.power()
        try:
            self._socket = socket_in(channel.namespace)
        except FileNotFoundError as error:
            raise ExecError(f"{self._machine}: its lab is not up") from error
        try:
            self._socket.settimeout(connect_timeout)
            self._socket.connect(channel.address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._socket.close()
            raise ExecError(f"{self._machine} does not answer on its exec channel: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and the command with it."""
        # shutdown wakes a thread that reads; close alone would not.
        with suppress(OSError):  # the guest was switched off
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def send_stdin(self, data: bytes) -> None:
        """Hand input to the command; empty data is the end of it."""
        self._socket.sendall(_HEADER.pack(Stream.STDIN, len(data)) + data)

    def frames(self, timeout: float | None = None) -> Iterator[tuple[Stream, bytes]]:
        """What the command sends, as it comes; the last frame is its exit code."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            kind, length = _HEADER.unpack(self._receive(_HEADER.size, end))
            data = self._receive(length, end)
            yield Stream(kind), data
            if kind == Stream.EXIT:
                return

    def _receive(self, length: int, end: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            try:
                # Refused, too, where another thread has closed the channel.
                self._socket.settimeout(_LOOK_SECONDS if left is None else min(left, _LOOK_SECONDS))
                part = self._socket.recv(min(length - len(parts), 1 << 20))
            except TimeoutError:
                if self._power() != self._boot:
                    raise ExecError(f"{self._machine}: its power was cut before the command ended") from None
                continue
            except OSError as error:
                raise ExecError(f"{self._machine}: the exec channel broke: {error}") from error
            if not part:
                raise ExecError(f"{self._machine}: the exec channel broke before the command ended")
            parts += part
        return bytes(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecChannel:
    """How to reach one guest."""

    machine: str
    namespace: str
    address: tuple[str, int]
    power: Callable[[], str | None]
    """What names the run of the guest's power from on to off; None while it is off."""

    def open(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        stdin: bool = False,
        connect_timeout: float = 5,
    ) -> Connection:
        """Start a command and leave its frames to the caller."""
        request = {
            "machine": self.machine,
            "argv": list(argv),
            "env": [f"{key}={value}" for key, value in (env or {}).items()],
            "dir": cwd,
            "stdin": stdin,
        }
        return Connection(self, request, connect_timeout=connect_timeout)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 60,
    ) -> ExecResult:
        """Run a command to its end."""
        output = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        code = -1
        with self.open(argv, env=env, stdin=stdin is not None) as connection:
            if stdin is not None:
                data = stdin.encode()
                for start in range(0, len(data), _STDIN_CHUNK):
                    connection.send_stdin(data[start : start + _STDIN_CHUNK])
                connection.send_stdin(b"")
            try:
                for kind, part in connection.frames(timeout):
                    if kind is Stream.EXIT:
                        code = int.from_bytes(part, "big")
                    else:
                        output[kind] += part
            except TimeoutError as error:
                raise ExecError(f"{self.machine}: {' '.join(argv)} did not end within {timeout:g} s") from error
        stdout, stderr = (output[kind].decode(errors="replace") for kind in (Stream.STDOUT, Stream.STDERR))
        if check and code != 0:
            raise CommandError(
                f"{self.machine}: {' '.join(argv)} ended with {code}: {(stderr or stdout).strip()}",
                returncode=code,
                stderr=stderr,
            )
        return ExecResult(returncode=code, stdout=stdout, stderr=stderr)
