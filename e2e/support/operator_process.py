"""The operator as a process, against a real API server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from lvs_lab.waiting import wait_for
from support.api_server import free_port

NAMESPACE: Final = "lvs-system"
READY_SECONDS: Final = 30
END_SECONDS: Final = 30
METRIC_PARTS: Final = 2


@dataclass(kw_only=True)
class OperatorProcess:
    """One replica."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        """What it has said."""
        return self.log_file.read_text(errors="replace")

    def endpoint(self, path: str) -> tuple[int, str]:
        """Ask /metrics, /healthz or /readyz; status 0 where nobody answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, HTTPException) as error:
            return 0, f"{error}"
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = [line.rpartition(" ") for line in self.endpoint("/metrics")[1].splitlines()]
        return sum(float(value) for series, _, value in lines if series.partition("{")[0] == name)

    def labelled(self, series: str) -> float:
        """One series of a metric, with its labels as they are exposed; 0 where it is not there."""
        lines = [line.rpartition(" ") for line in self.endpoint("/metrics")[1].splitlines()]
        return sum(float(value) for name, _, value in lines if name == series)

    @property
    def ready(self) -> bool:
        """Whether it has seen every kind completely; one that has ended never will, and is told at once."""
        if not self.alive:
            raise RuntimeError(f"the operator ended with {self.process.returncode}: {self.log[-3000:]}")
        return self.endpoint("/readyz")[0] == 200

    @property
    def leads(self) -> bool:
        """Whether it holds the Lease."""
        return self.metric("lvs_operator_leading") == 1

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(END_SECONDS)


@contextmanager
def running_operator(
    directory: Path, kubeconfig: Path, *flags: str, name: str = "operator", wait: bool = True
) -> Iterator[OperatorProcess]:
    """An operator for as long as the context lasts."""
    port = free_port()
    log_file = directory / f"{name}.log"
    command = [sys.executable, "-m", "lvs_operator", f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}"]
    command += [f"--identity={name}", f"--listen=127.0.0.1:{port}", *flags]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    operator = OperatorProcess(process=process, port=port, log_file=log_file)
    try:
        if wait:
            wait_for(lambda: operator.ready, READY_SECONDS, f"{name} to be ready")
        yield operator
    finally:
        if operator.alive:
            operator.kill()


@contextmanager
def operator_to_its_end(directory: Path, kubeconfig: Path, *flags: str) -> Iterator[OperatorProcess]:
    """An operator for as long as the context lasts, which then ends in order when it is told to."""
    with running_operator(directory, kubeconfig, *flags) as process:
        yield process
        assert process.terminate() == 0, process.log[-3000:]
