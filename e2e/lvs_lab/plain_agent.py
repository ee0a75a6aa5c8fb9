"""The node agent as a process of a plain guest, from the checkout itself: with a token, or from manifest files."""

import shlex
from collections.abc import Mapping, Sequence

from lvs_lab.errors import LabError
from lvs_lab.guest_setup import STATE_DIRECTORY
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.python_packages import agent_environment
from lvs_lab.waiting import wait_for

_DIRECTORY = "/run/lvs-lab-agent"
_KUBECONFIG = f"{_DIRECTORY}/kubeconfig"
_MANIFESTS = f"{_DIRECTORY}/manifests"


class PlainProcess:
    """A program that runs on a plain guest, of the checkout or of the guest's Debian."""

    def __init__(self, machine: GuestMachine, name: str, what: str) -> None:
        self._machine = machine
        self._pid = f"{_DIRECTORY}/{name}pid"
        self._log = f"{_DIRECTORY}/{name}log"
        self._what = f"{what} of {machine.name}"

    def start(self, command: Sequence[str]) -> None:
        """Start it; it must not run yet."""
        if self.running:
            raise LabError(f"{self._what} runs already")
        self._machine.sh(f"mkdir -p {_DIRECTORY}")
        line = " ".join(shlex.quote(word) for word in command)
        # The shell is the leader of a new session and becomes the program.
        begins = f"{{ test -e {self._log} && wc -c < {self._log} || echo 0; }} > {self._log}begin"
        inner = f"{begins}; echo $$ > {self._pid}; exec {line} >> {self._log} 2>&1 < /dev/null"
        self._machine.exec(["setsid", "--fork", "sh", "-c", inner], env=agent_environment(), check=True)
        started = f"{self._what} to start"
        wait_for(lambda: self._machine.exec(["test", "-s", self._pid]).ok, 5, started, interval=0.01)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._machine.exec(["sh", "-c", f"kill -0 $(cat {self._pid}) 2>/dev/null"]).ok

    @property
    def pid(self) -> int:
        """Its process, which leads a session of its own with all of its children."""
        return int(self._machine.out("cat", self._pid))

    def signal(self, name: str) -> None:
        """Signal it and its children."""
        self._machine.sh(f"kill -s {name} -- -$(cat {self._pid})")

    def kill(self, signal_name: str = "KILL") -> None:
        """Signal its process and its children, and wait for their end: KILL is a crash, TERM an orderly stop."""
        group = "-" if signal_name == "KILL" else ""
        self._machine.sh(f"kill -s {signal_name} -- {group}$(cat {self._pid})")
        wait_for(lambda: not self.running, 15, f"{self._what} to end")
        self._machine.sh(f"rm -f {self._pid}")

    def log(self) -> str:
        """All that it has written in its lives since the guest booted."""
        return self._machine.sh(f"cat {self._log}", check=False)

    def last_log(self) -> str:
        """What it has written in its last life."""
        return self._machine.sh(f"tail --bytes=+$(($(cat {self._log}begin) + 1)) {self._log}", check=False)


class PlainAgent:
    """The agent of one plain guest, and beside it, where it is wanted, the VRRP daemon with its supervisor."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._process = PlainProcess(machine, "", "the agent")
        self.vrrp = PlainProcess(machine, "vrrp.", "the supervisor of the VRRP daemon")

    def start_vrrp(self) -> None:
        """Start `lvs-agent vrrp`; it must not run yet."""
        self.vrrp.start(["python3", "-m", "lvs_agent", "vrrp"])

    def start(
        self, *, kubeconfig: str | None = None, manifests: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> None:
        """Start it with credentials, or with manifests (file name to text); it must not run yet."""
        if self.running:
            raise LabError(f"{self._machine.name}: its agent runs already")
        self._machine.sh(f"mkdir -p {_MANIFESTS}; rm -f {_MANIFESTS}/*")
        # The guest may have cached files of the checkout that have changed since.
        self._machine.sh("echo 3 > /proc/sys/vm/drop_caches")
        source: list[str] = []
        if kubeconfig is not None:
            self.write_kubeconfig(kubeconfig)
            source = ["--kubeconfig", _KUBECONFIG, "--node-name", self._machine.name]
        if manifests is not None:
            self.write_manifests(manifests)
            source = ["--manifests", _MANIFESTS]
        command = [
            "python3",
            "-m",
            "lvs_agent",
            "run",
            *source,
            "--state-dir",
            STATE_DIRECTORY,
            *options,
        ]
        self._process.start(command)

    def write_kubeconfig(self, text: str) -> None:
        """Give it other credentials, or another way to the API server; it reads them when it starts."""
        self._machine.exec(["sh", "-c", f"umask 077; cat > {_KUBECONFIG}"], stdin=text, check=True)

    def write_manifests(self, manifests: Mapping[str, str]) -> None:
        """Put manifest files in place, each in one step."""
        for name, text in manifests.items():
            path = shlex.quote(f"{_MANIFESTS}/{name}")
            self._machine.exec(
                ["sh", "-c", f"cat > {_DIRECTORY}/new && mv {_DIRECTORY}/new {path}"], stdin=text, check=True
            )

    def remove_manifest(self, name: str) -> None:
        """Take one manifest file away."""
        self._machine.out("rm", f"{_MANIFESTS}/{name}")

    def run_verb(self, *arguments: str, timeout: float = 60) -> str:
        """Run another verb of the agent's program (`cleanup`, `plan`) to its end; return what it writes."""
        return self._machine.exec(
            ["python3", "-m", "lvs_agent", *arguments], env=agent_environment(), check=True, timeout=timeout
        ).stdout

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process.running

    def kill(self, signal_name: str = "KILL") -> None:
        """Signal its process and its children, and wait for their end: KILL is a crash, TERM an orderly stop."""
        self._process.kill(signal_name)

    @property
    def pid(self) -> int:
        """Its process, which leads a session of its own with all of its children."""
        return self._process.pid

    def pause(self) -> None:
        """Stop it and its children where they are."""
        self._process.signal("STOP")

    def resume(self) -> None:
        """Let them go on."""
        self._process.signal("CONT")

    def log(self) -> str:
        """All that it has written in its lives since the guest booted."""
        return self._process.log()

    def last_log(self) -> str:
        """What it has written in its last life."""
        return self._process.last_log()
