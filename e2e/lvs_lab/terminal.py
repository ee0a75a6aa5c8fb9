"""Commands on a machine with this process's own standard streams."""

import os
import shlex
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lvs_lab.errors import ExecError
from lvs_lab.exec_channel import Connection, Stream
from lvs_lab.host_commands import in_namespace
from lvs_lab.lab_machine import GuestMachine, LabMachine

_CHUNK = 65536
_NOBODY_READS = 128 + signal.SIGPIPE
"""As a shell tells of a program that wrote into a pipe such as `| head` after its end."""


def attached(machine: LabMachine, argv: Sequence[str]) -> int:
    """Run a command with our stdin, stdout and stderr; return its exit code."""
    if not isinstance(machine, GuestMachine):
        return subprocess.call(in_namespace(machine.namespace, argv))
    with machine.open(argv, stdin=True) as connection:
        return _pump(connection)


def interactive(machine: LabMachine) -> int:
    """A shell with a terminal of its own; in a guest, `script` makes one."""
    if not isinstance(machine, GuestMachine):
        return subprocess.call(
            in_namespace(machine.namespace, ["env", f"PS1={machine.name}# ", "bash", "--norc", "-i"])
        )
    size = os.get_terminal_size() if sys.stdin.isatty() else os.terminal_size((80, 24))
    # A shell that is not interactive drops the prompt from its environment, so it is given to the inner one.
    inside = f"stty rows {size.lines} cols {size.columns}; exec env PS1='{machine.name}# ' bash --norc -i"
    environment = {"TERM": os.environ.get("TERM", "linux")}
    command = ["script", "--quiet", "--return", "--flush", "--command", f"bash -c {shlex.quote(inside)}", "/dev/null"]
    with machine.open(command, env=environment, stdin=True) as connection, _raw_terminal():
        return _pump(connection)


def _pump(connection: Connection) -> int:
    threading.Thread(target=_feed, args=(connection,), daemon=True).start()
    outputs = {Stream.STDOUT: sys.stdout.fileno(), Stream.STDERR: sys.stderr.fileno()}
    for kind, data in connection.frames():
        if kind is Stream.EXIT:
            return int.from_bytes(data, "big")
        try:
            _write_all(outputs[kind], data)
        except BrokenPipeError:
            return _NOBODY_READS
    raise ExecError("the command ended without an exit code")


def _write_all(descriptor: int, data: bytes) -> None:
    """Past the buffers of `sys.stdout`, which would be written once more when this process ends."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _feed(connection: Connection) -> None:
    try:
        while data := os.read(sys.stdin.fileno(), _CHUNK):
            connection.send_stdin(data)
        connection.send_stdin(b"")
    except OSError:
        return  # the command has ended: nobody wants the rest


@contextmanager
def _raw_terminal() -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
