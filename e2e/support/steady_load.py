"""Connections and echo requests at a fixed rate from a client of the lab, by a program that is fast enough."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from lvs_lab.host_commands import in_namespace
from lvs_lab.lab import Lab
from lvs_lab.load_program import load_program
from lvs_lab.waiting import wait_for
from support.traffic import answers, host_port

_BEGIN_SECONDS: Final = 20.0
_SPAN_PAUSE: Final = 5
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
    failed_at: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """By kind and second since the start: how many of those begun in it failed."""
    left_out: int = 0
    """Connections for which this machine had no time: no failure of what is tried, but not the promised rate either."""
    slow: int = 0
    longest_ms: float = 0.0

    @property
    def rate(self) -> float:
        """Connections a second that were made and answered."""
        return self.succeeded / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{self.succeeded} connections in {self.seconds:.1f} s ({self.rate:.0f} a second), failed: "
            f"{dict(self.failures)} {self.examples} {failure_spans(self.failed_at)}, left out: {self.left_out}, "
            f"slow: {self.slow}, longest: {self.longest_ms:.0f} ms, by server: {dict(self.replies)}"
        )


def failure_spans(failed_at: Mapping[str, Mapping[int, int]]) -> list[str]:
    """When connections failed, in words: seconds less than `_SPAN_PAUSE` apart are told as one time."""
    told = []
    for kind, counts in failed_at.items():
        times: list[list[int]] = []
        for second in sorted(counts):
            if times and second - times[-1][-1] < _SPAN_PAUSE:
                times[-1].append(second)
            else:
                times.append([second])
        told += [
            (one[0], f"{kind}: {sum(counts[second] for second in one)} from {one[0]} s to {one[-1] + 1} s")
            for one in times
        ]
    return [words for _, words in sorted(told)]


@contextmanager
def plain_real_servers(lab: Lab, vip: str, *names: str, port: int = 80) -> Iterator[None]:
    """Make namespaces of the lab real servers for direct routing, by hand as on plain machines: silent, then bound."""
    with ExitStack() as stack:
        for name in names:
            machine = lab.machine(name)
            for setting in ("arp_ignore=1", "arp_announce=2"):
                machine.out("sysctl", "--quiet", "--write", f"net.ipv4.conf.all.{setting}")
            machine.out("ip", "address", "add", f"{vip}/32", "dev", "lo")
            namespace = lab.places.namespace(lab.topology.machine(name))
            command = in_namespace(namespace, [str(load_program()), "serve", f":{port}", name])
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.terminate)
            wait_for(lambda one=machine: answers(one, "127.0.0.1", port=port), 10, f"the server of {name}")  # type: ignore[misc]  # mypy infers no lambda with a default
        yield


@contextmanager
def steady_load(client_namespace: str, address: str, rate: int, *, port: int = 80) -> Iterator[LoadReport]:
    """Make so many connections a second for as long as the context lasts, each with one request."""
    # A port is not used again while this lasts: about 64,000 connections.
    widened = ["sysctl", "--quiet", "--write", "net.ipv4.ip_local_port_range=1024 65535"]
    subprocess.run(in_namespace(client_namespace, widened), check=True)
    report = LoadReport()
    with _reporting(client_namespace, ["run", host_port(address, port), str(rate)], "started") as found:
        yield report
    report.seconds, report.succeeded = found["seconds"], found["succeeded"]
    report.replies, report.failures, report.examples = found["replies"], found["failures"], found["examples"]
    report.failed_at = {
        kind: {int(second): count for second, count in counts.items()} for kind, counts in found["failedAt"].items()
    }
    report.left_out, report.slow, report.longest_ms = found["leftOut"], found["slow"], found["longestMs"]


@dataclass(kw_only=True)
class ProbeReport:
    """When echo requests were answered, once the context has ended."""

    replies: list[float] = field(default_factory=list)
    """Seconds since 1970, by this machine's clock."""
    sent: int = 0
    unsent: int = 0
    """The client knew no way, or nobody told it who has the address."""
    left_out: int = 0
    """This machine had no time for them."""
    ended: float = 0.0


@contextmanager
def steady_probes(client_namespace: str, address: str, *, interval: str = "1ms") -> Iterator[ProbeReport]:
    """Send ICMP echo requests to an address for as long as the context lasts; it begins with the first reply."""
    report = ProbeReport()
    with _reporting(client_namespace, ["probe", address, interval], "answered") as found:
        yield report
        report.ended = time.time()
    report.replies = [moment / 1e6 for moment in found["replies"]]
    report.sent, report.unsent, report.left_out = found["sent"], found["unsent"], found["leftOut"]


@contextmanager
def _reporting(client_namespace: str, words: Sequence[str], begins: str) -> Iterator[dict[str, Any]]:
    """The load program at work; what it reports is there once the context has ended. `begins` is its first word."""
    command = in_namespace(client_namespace, [str(load_program()), *words])
    found: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            stderr = process.stderr
            assert stderr is not None
            said: list[str] = []
            # A thread, for a line that never comes would be waited for without end.
            reader = threading.Thread(target=lambda: said.append(stderr.readline()), daemon=True)
            reader.start()
            reader.join(_BEGIN_SECONDS)
            assert said == [f"{begins}\n"], said
            yield found
            assert process.poll() is None, process.communicate()
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=_END_SECONDS)
    found.update(json.loads(output))
