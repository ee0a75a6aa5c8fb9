"""The floor, netlink requests that were packed beforehand, and the tools that people use."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Final

from bench.large_table import Table, ipvsadm_words, keepalived_text
from lvs_agent.decide.changes import IpvsChange
from lvs_agent.decide.kernel_state import AnyServiceKey
from lvs_agent.kernel.ipvs import KernelIpvsTable
from lvs_agent.kernel.ipvs_codec import FAMILY_NAME, RequestEncoder
from lvs_agent.kernel.netlink_socket import NetlinkSocket
from lvs_agent.kernel.netlink_wire import error_code, family_id, get_family_message

_BATCH: Final = 500
_LOOK_SECONDS: Final = 0.005
_KEEPALIVED_SECONDS: Final = 120.0


class Prebuilt:
    """Requests as they go to the kernel, 500 a send with one acknowledgement."""

    def __init__(self, changes: Sequence[IpvsChange]) -> None:
        self._connection = NetlinkSocket()
        first = self._connection.next_sequence()
        self._connection.send(get_family_message(FAMILY_NAME, first))
        (family,) = (family_id(buffer, message) for buffer, message in self._connection.answers(first))
        encoder = RequestEncoder(family)
        self._buffers: list[tuple[int, bytes]] = []
        for start in range(0, len(changes), _BATCH):
            batch = changes[start : start + _BATCH]
            sequence = self._connection.next_sequence(len(batch))
            last = sequence + len(batch) - 1
            packed = [encoder.change(change, sequence + index) for index, change in enumerate(batch[:-1])]
            self._buffers.append((last, b"".join([*packed, encoder.last_change(batch[-1], last)])))

    def send(self) -> None:
        """Send all. Raises SystemExit where the kernel refuses one."""
        refused: list[int] = []
        for last, buffer in self._buffers:
            self._connection.send(buffer)
            answers = self._connection.answers(last)
            refused += [code for answer, message in answers if (code := error_code(answer, message))]
        if refused:
            raise SystemExit(f"prebuilt: {len(refused)} requests refused, the first with {os.strerror(refused[0])}")


class RawDumps:
    """Dumps of a whole table, asked for by requests that were packed beforehand, and not looked into."""

    def __init__(self, table: Table) -> None:
        self._connection = NetlinkSocket()
        first = self._connection.next_sequence()
        self._connection.send(get_family_message(FAMILY_NAME, first))
        (family,) = (family_id(buffer, message) for buffer, message in self._connection.answers(first))
        encoder = RequestEncoder(family)
        self._requests = [encoder.dump_services(self._connection.next_sequence())]
        self._requests += [encoder.dump_destinations(key, self._connection.next_sequence()) for key in table]

    def receive(self) -> int:
        """Ask and receive; how many entries came."""
        return sum(1 for request in self._requests for _ in self._connection.dump(request))


def ipvsadm_restore(text: str) -> None:
    """`ipvsadm -R`."""
    subprocess.run(["ipvsadm", "-R"], input=text, text=True, check=True)


def ipvsadm(change: IpvsChange) -> None:
    """One command of its own."""
    subprocess.run(["ipvsadm", *ipvsadm_words(change)], check=True)


def ipvsadm_save() -> None:
    """`ipvsadm -Sn`, to nowhere."""
    subprocess.run(["ipvsadm", "-Sn"], stdout=subprocess.DEVNULL, check=True)


def start_a_program() -> None:
    """What every command of its own costs, whatever it does."""
    subprocess.run(["true"], check=True)


class Keepalived:
    """keepalived with a table and no checks, and nothing else of it: no VRRP."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._directory = Path(tempfile.mkdtemp(prefix="lvs-bench-"))
        (self._directory / "conf").write_text(keepalived_text(table), encoding="ascii")

    def start(self) -> None:
        """Start it, and return when the last entry is there; it runs on. Raises SystemExit where none comes."""
        place = self._directory
        command = ["keepalived", "--check", "--dont-fork", f"--use-file={place / 'conf'}", f"--pid={place / 'pid'}"]
        command += [f"--checkers_pid={place / 'checkers'}"]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen([*command, "--log-console"], stdout=log, stderr=log)
        service, wish = list(self._table.items())[-1]
        watched = KernelIpvsTable()
        deadline = time.monotonic() + _KEEPALIVED_SECONDS
        while len(_destinations(watched, service)) < len(wish.destinations):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"keepalived makes no table: {(place / 'log').read_text()[-2000:]}")
            time.sleep(_LOOK_SECONDS)  # the resolution of the measurement; nothing tells of new entries


def _destinations(table: KernelIpvsTable, service: AnyServiceKey) -> Sized:
    state = table.read_only([service]).services.get(service)
    return state.destinations if state is not None else ()


def versions() -> str:
    """Of the peers, and of the kernel."""
    ipvsadm_says = subprocess.run(["ipvsadm", "--version"], check=True, capture_output=True, text=True).stdout
    keepalived_says = subprocess.run(["keepalived", "--version"], check=True, capture_output=True, text=True).stderr
    kernel = os.uname().release
    return f"Linux {kernel}, {ipvsadm_says.split(' (')[0].strip()}, {keepalived_says.split(' (')[0].strip()}"
