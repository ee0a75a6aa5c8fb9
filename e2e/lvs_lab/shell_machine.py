"""A machine on which commands can be run, by whatever way: a guest, a namespace, a node of somebody's cluster."""

from collections.abc import Mapping, Sequence

from lvs_lab.errors import LabError
from lvs_lab.exec_channel import ExecResult


class Server:
    """A small server that answers with its machine's name (guest/serve.py tells how)."""

    def __init__(self, machine: "ShellMachine", pid_file: str) -> None:
        self._machine = machine
        self.pid_file = pid_file

    def stop(self) -> None:
        """End it; connections to it are refused from now on."""
        if not self._machine.exec(["test", "-e", self.pid_file]).ok:
            raise LabError(f"{self._machine.name}: no such server runs that was started by `serve` ({self.pid_file})")
        stop = 'pid=$(cat "$0") && kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done; rm -f "$0"'
        self._machine.exec(["sh", "-c", stop, self.pid_file], check=True)

    def pause(self) -> None:
        """Stop it where it is: connections are accepted by the kernel, nothing answers."""
        self._machine.exec(["sh", "-c", 'kill -STOP "$(cat "$0")"', self.pid_file], check=True)

    def resume(self) -> None:
        """Let a paused one go on."""
        self._machine.exec(["sh", "-c", 'kill -CONT "$(cat "$0")"', self.pid_file], check=True)


class ShellMachine:
    """What follows from running commands on a machine."""

    def __init__(self, name: str) -> None:
        self.name = name

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 60,
    ) -> ExecResult:
        """Run a command on it to its end; with `check`, anything but 0 raises `CommandError`."""
        raise NotImplementedError

    def out(self, *argv: str, timeout: float = 60) -> str:
        """What a command on it writes; a failing command raises `CommandError`."""
        return self.exec(argv, check=True, timeout=timeout).stdout

    def sh(self, script: str, *, check: bool = True, timeout: float = 60) -> str:
        """What a shell script on it writes."""
        return self.exec(["sh", "-c", script], check=check, timeout=timeout).stdout

    def serve(self, *, port: int, address: str = "*", protocol: str = "tcp") -> Server:
        """Start a small server that answers with this machine's name; it listens when this returns.

        `protocol` is tcp, udp or sctp.
        """
        server = self.server(port=port, address=address, protocol=protocol)
        chosen = [] if protocol == "tcp" else [f"--{protocol}"]
        options = ["--address", address, "--port", str(port), "--name", self.name, *chosen]
        self.exec(["python3", self._serve_program, *options, "--pid-file", server.pid_file], check=True)
        return server

    def server(self, *, port: int, address: str = "*", protocol: str = "tcp") -> Server:
        """A server that was started before."""
        return Server(self, f"{self._pid_directory}/serve.{self.name}.{protocol}.{address.replace('*', 'any')}.{port}")

    @property
    def _pid_directory(self) -> str:
        return "/run"

    _serve_program = "/lab/serve.py"
