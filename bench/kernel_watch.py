"""When real servers are in a guest's kernel, as `entries_in_guest` tells."""

import sys
import threading
import time
from typing import Final, NamedTuple, Self

from lvs_lab.errors import ExecError
from lvs_lab.exec_channel import Stream
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.python_packages import bench_environment

DEADLINE: Final = 60.0


class Arrival(NamedTuple):
    """A real server that is to be in the kernel."""

    vip: str
    port: int
    server: str
    weight: int | None
    """None: any."""


class KernelWatch:
    """A program in the guest, and a thread that hears it."""

    def __init__(self, guest: GuestMachine) -> None:
        command = ["python3", "-m", "bench.entries_in_guest"]
        self._connection = guest.open(command, env=bench_environment(), stdin=True)
        self._heard = threading.Condition()
        self._seen: dict[str, float] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._connection.close()
        self._thread.join()

    def ask(self, name: str, arrival: Arrival) -> None:
        """Look for it from now on, and call it so."""
        vip, port, server, weight = arrival
        self._connection.send_stdin(f"{name} {vip} {port} {server} {'-' if weight is None else weight}\n".encode())

    def wait(self, name: str) -> float:
        """When it was heard to be there (perf_counter)."""
        with self._heard:
            if not self._heard.wait_for(lambda: name in self._seen, DEADLINE):
                raise SystemExit(f"{name} was not in the kernel within {DEADLINE:g} s")
            return self._seen[name]

    def _listen(self) -> None:
        try:
            for kind, data in self._connection.frames():
                now = time.perf_counter()
                if kind is not Stream.STDOUT:
                    sys.stderr.write(data.decode(errors="replace"))
                    continue
                with self._heard:
                    self._seen.update(dict.fromkeys(data.decode().split(), now))
                    self._heard.notify_all()
        except ExecError:
            if not self._closing:
                raise
