"""Connections at a fixed rate from a client of the lab, made and answered by programs that are fast enough."""

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from lvs_lab.host_commands import in_namespace
from lvs_lab.lab import Lab
from lvs_lab.load_program import load_program
from lvs_lab.waiting import wait_for
from support.traffic import answers

_PROGRAM_TARGET: Final = "/run/lab-load"
_END_SECONDS: Final = 15.0
"""The last connections have five seconds."""


@dataclass(kw_only=True)
class LoadReport:
    """What became of the connections, once the context has ended; load/generator.go says what counts as what."""

    seconds: float = 0.0
    succeeded: int = 0
    replies: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    left_out: int = 0
    """Connections for which this machine had no time: no failure of what is tried, but not the promised rate either."""
    slow: int = 0
    longest_ms: float = 0.0

    @property
    def rate(self) -> float:
        """Connections a second that were made and answered."""
        return self.succeeded / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.succeeded} connections in {self.seconds:.1f} s ({self.rate:.0f} a second), failed: "
            f"{dict(self.failures)} {self.examples}, left out: {self.left_out}, slow: {self.slow}, "
            f"longest: {self.longest_ms:.0f} ms, by server: {dict(self.replies)}"
        )


@contextmanager
def fast_servers(lab: Lab, *names: str, port: int = 80) -> Iterator[None]:
    """Answer with the fast server on these guests, in the place of the small ones."""
    program = load_program()
    for name in names:
        guest = lab.guest(name)
        guest.server(port=port).stop()
        guest.sh(f"mkdir -p {_PROGRAM_TARGET} && mount -t hostfs -o ro,hostfs={program.parent} none {_PROGRAM_TARGET}")
        command = shlex.join([f"{_PROGRAM_TARGET}/{program.name}", "serve", f":{port}", name])
        guest.exec(["setsid", "--fork", "sh", "-c", f"exec {command} > /dev/null 2>&1 < /dev/null"], check=True)
        wait_for(lambda guest=guest: answers(guest, "127.0.0.1", port=port), 10, f"the fast server of {name}")  # type: ignore[misc]
    try:
        yield
    finally:
        for name in names:
            guest = lab.guest(name)
            guest.sh(f"pkill -x {program.name}; while pgrep -x {program.name}; do sleep 0.05; done")
            guest.sh(f"umount {_PROGRAM_TARGET}")
            guest.serve(port=port)


@contextmanager
def steady_load(client_namespace: str, address: str, rate: int, *, port: int = 80) -> Iterator[LoadReport]:
    """Make so many connections a second for as long as the context lasts, each with one request."""
    # A port is not used again while this lasts: about 64,000 connections.
    widened = ["sysctl", "--quiet", "--write", "net.ipv4.ip_local_port_range=1024 65535"]
    subprocess.run(in_namespace(client_namespace, widened), check=True)
    command = in_namespace(client_namespace, [str(load_program()), "run", f"{address}:{port}", str(rate)])
    report = LoadReport()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            started = process.stderr.readline()
            assert started == "started\n", started
            yield report
            assert process.poll() is None, process.communicate()
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=_END_SECONDS)
    found = json.loads(output)
    report.seconds, report.succeeded = found["seconds"], found["succeeded"]
    report.replies, report.failures, report.examples = found["replies"], found["failures"], found["examples"]
    report.left_out, report.slow, report.longest_ms = found["leftOut"], found["slow"], found["longestMs"]
