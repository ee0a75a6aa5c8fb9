"""A lab of one guest, in which figures about one kernel's table are measured."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bench.figure import Measured
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.python_packages import bench_environment
from support.lab_fixtures import session_lab

_TOPOLOGY: Final = """\
segments: [lan]
nodes:
  director-1:
    role: director
    memoryMiB: 1024
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.11/24]}}
controlPlane: {enabled: false}
"""
_LONGEST_SECONDS: Final = 1200


@dataclass(frozen=True, kw_only=True, slots=True)
class TableLab:
    """The guest."""

    guest: GuestMachine

    def versions(self) -> str:
        """Of the kernel and the peers."""
        return str(self._run("versions"))

    def measure(self, figure: str, repetitions: int, seconds: float) -> Measured:
        """One figure of `bench.in_guest`."""
        return Measured(**self._run(figure, "--repetitions", str(repetitions), "--seconds", str(seconds)))

    def _run(self, *words: str) -> Any:  # noqa: ANN401 (JSON)
        command = ["python3", "-m", "bench.in_guest", *words]
        done = self.guest.exec(command, env=bench_environment(), check=True, timeout=_LONGEST_SECONDS)
        return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def table_lab() -> Iterator[TableLab]:
    """The lab for as long as the context lasts."""
    with session_lab("bench-table", _TOPOLOGY) as lab:
        yield TableLab(guest=lab.guest("director-1"))
