"""A machine of a running lab as tests and the command line use it: run things on it, listen on it, break it."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Self

from lvs_lab.artifacts import PACKAGE
from lvs_lab.errors import ExecError, HostError, LabError
from lvs_lab.exec_channel import Connection, ExecResult, Stream
from lvs_lab.faults import apply_fault, parse_fault
from lvs_lab.guest import Guest
from lvs_lab.host_commands import in_namespace, run
from lvs_lab.places import Places
from lvs_lab.processes import mark
from lvs_lab.shell_machine import ShellMachine
from lvs_lab.topology import Kind, Machine, Topology
from lvs_lab.waiting import wait_for

Note = Callable[[Stream, bytes], None]


class Capture:
    """tcpdump on a machine; usable as a context manager. Its lines can be read while it runs."""

    def __init__(self, readers: Sequence[Callable[[Note], None]], close: Callable[[], None], what: str) -> None:
        self._text = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self._close = close
        self._failure: LabError | None = None
        self._closing = False
        self._threads = [threading.Thread(target=self._collect, args=(read,), daemon=True) for read in readers]
        for thread in self._threads:
            thread.start()
        try:
            wait_for(self._listens, 10, f"tcpdump to listen on {what}", interval=0.01, always=self._must_run)
        except LabError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self) -> list[str]:
        """The packets seen so far, one a line, as `tcpdump -n -e -tt` writes them."""
        return self._text[Stream.STDOUT].decode(errors="replace").splitlines()

    def close(self) -> None:
        """End it."""
        self._closing = True
        self._close()
        for thread in self._threads:
            thread.join()

    def _collect(self, read: Callable[[Note], None]) -> None:
        def note(kind: Stream, data: bytes) -> None:
            if kind in self._text:
                self._text[kind] += data

        try:
            read(note)
        except LabError as error:
            if not self._closing:
                self._failure = error

    def _listens(self) -> bool:
        return "listening on" in self._said()

    def _must_run(self) -> None:
        if self._failure is not None:
            raise self._failure
        if not any(thread.is_alive() for thread in self._threads):
            raise HostError(f"tcpdump ended: {self._said().strip()}")

    def _said(self) -> str:
        return self._text[Stream.STDERR].decode(errors="replace")


class LabMachine(ShellMachine):
    """What guests and namespaces have in common."""

    def __init__(self, places: Places, topology: Topology, machine: Machine) -> None:
        super().__init__(machine.name)
        self.machine = machine
        self._places = places
        self._topology = topology

    @property
    def ip(self) -> str:
        """Its first IPv4 address."""
        return self._first_address(4)

    @property
    def ip6(self) -> str:
        """Its first IPv6 address."""
        return self._first_address(6)

    def capture(self, *expression: str, device: str = "eth0") -> Capture:
        """Start tcpdump with a filter expression, and return when it listens."""
        raise NotImplementedError

    @property
    def namespace(self) -> str:
        """The namespace on this machine that its cards end in; for one that is a namespace, that itself."""
        return self._places.namespace(self.machine) if self.machine.kind is Kind.NAMESPACE else self._places.switches

    def link(self, *words: str, device: str = "eth0") -> None:
        """`up`, `down`, `silent`, `apart`, or any of `loss=5%`, `delay=20ms` and `jitter=10ms`: the state of a card."""
        apply_fault(self._places, self._topology, self.machine, device, parse_fault(list(words)))

    def _first_address(self, version: int) -> str:
        for address in self.machine.node_addresses:
            if address.version == version:
                return str(address)
        raise LabError(f"{self.name} has no IPv{version} address")


_TCPDUMP = ("tcpdump", "-n", "-e", "-tt", "-l", "-U", "--immediate-mode", "-i")


class GuestMachine(LabMachine):
    """A machine with a kernel of its own, reached over its exec channel."""

    def __init__(self, places: Places, topology: Topology, guest: Guest, boot: Callable[[], None]) -> None:
        super().__init__(places, topology, guest.machine)
        self._guest = guest
        self._boot = boot

    @property
    def running(self) -> bool:
        """Whether its power is on."""
        return self._guest.running

    @property
    def finished(self) -> bool:
        """Whether its present boot was brought to its end."""
        return self._guest.finished

    @property
    def paused(self) -> bool:
        """Whether it is stopped where it is."""
        return self._guest.paused

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 60,
    ) -> ExecResult:
        self._require_power()
        return self._guest.channel.run(argv, stdin=stdin, env=env, check=check, timeout=timeout)

    def open(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: bool = False) -> Connection:
        """Start a command and leave what it writes, and its end, to the caller; closing the connection kills it."""
        self._require_power()
        return self._guest.channel.open(argv, env=env, stdin=stdin)

    def _require_power(self) -> None:
        """A guest that can not answer: say so, and what to do."""
        if not self.running:
            raise ExecError(f"{self.name} has no power; `lvs-lab power-on {self.name}` boots it")
        if self.paused:
            raise ExecError(f"{self.name} is paused; `lvs-lab resume {self.name}` lets it go on")

    def capture(self, *expression: str, device: str = "eth0") -> Capture:
        connection = self.open([*_TCPDUMP, device, *expression])

        def read(note: Note) -> None:
            try:
                for kind, data in connection.frames():
                    note(kind, data)
            except OSError as error:
                raise ExecError(f"the exec channel was closed: {error}") from error

        return Capture([read], connection.close, f"{self.name} {device}")

    def power_off(self) -> None:
        """Cut its power: what was not synced to its state directory is lost."""
        self._guest.cut_power()

    def power_on(self) -> None:
        """Boot it as it was first, with the state directory that it had; it answers when this returns."""
        self._boot()

    def pause(self) -> None:
        """Stop it where it is; to the others it is silent."""
        self._guest.pause()

    def resume(self) -> None:
        """Let a paused one go on; its clocks have run on."""
        self._guest.resume()


class NamespaceMachine(LabMachine):
    """A machine that is a network namespace: its programs are this machine's."""

    _serve_program = str(PACKAGE / "guest" / "serve.py")

    @property
    def _pid_directory(self) -> str:
        return str(self._places.notes)

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 60,
    ) -> ExecResult:
        environment = {**os.environ, **(env or {}), **mark(self._places.notes)}
        done = run(
            argv, netns=self._places.namespace(self.machine), stdin=stdin, check=check, timeout=timeout, env=environment
        )
        return ExecResult(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def capture(self, *expression: str, device: str = "eth0") -> Capture:
        command = in_namespace(self._places.namespace(self.machine), [*_TCPDUMP, device, *expression])
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        pipes = ((Stream.STDOUT, process.stdout), (Stream.STDERR, process.stderr))

        def reader(kind: Stream, pipe: IO[bytes]) -> Callable[[Note], None]:
            def read(note: Note) -> None:
                with pipe:
                    for line in pipe:
                        note(kind, line)

            return read

        def close() -> None:
            process.send_signal(signal.SIGINT)
            process.wait()

        return Capture([reader(kind, pipe) for kind, pipe in pipes if pipe is not None], close, f"{self.name} {device}")
