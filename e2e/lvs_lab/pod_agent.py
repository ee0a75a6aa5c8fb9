"""The agent of a node with a kubelet: two containers of the DaemonSet's pod, seen from the guest's own processes."""

from collections.abc import Mapping, Sequence
from typing import Final

from lvs_lab.errors import LabError
from lvs_lab.guest_setup import STATE_DIRECTORY
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.plain_agent import PlainAgent, PlainProcess
from lvs_lab.waiting import wait_for

_HELD: Final = "/run/lvs-lab-held"
_END_SECONDS: Final = 20
_START_SECONDS: Final = 120
_ONE_IN_A_CONTAINER: Final = """
for pid in $(pgrep --full "$0"); do
  shim=$(ps -o ppid= -p "$pid" | tr -d ' ')
  if [ "$(cat "/proc/$shim/comm" 2>/dev/null)" = containerd-shim ]; then echo "$pid $shim"; fi
done
"""
"""The program with this command line that is the first process of a container, and the shim that waits for its end."""
_VERB: Final = """
image=$(ctr --namespace=k8s.io images list --quiet | grep '/lvs-node-agent:' | head -n 1)
exec ctr --namespace=k8s.io run --rm --privileged --net-host \
  --mount=type=bind,src={state},dst={state},options=rbind:rw \
  --mount=type=bind,src=/run/lvs-agent,dst=/run/lvs-agent,options=rbind:rw \
  "$image" "lab-verb-$$" /usr/local/bin/lvs-agent "$@"
"""


class ContainerProcess(PlainProcess):
    """The first process of a container.

    A kubelet starts again at once what has ended. To leave a container without its process for a while, who would tell
    the kubelet, the container's shim, is stopped: the process is dead, with its ports and locks, and nobody knows.
    """

    def __init__(self, machine: GuestMachine, command: str, what: str, *, container: str) -> None:
        super().__init__(machine, f"{container}.", what)
        self._command = command
        self._container = container
        self._held = f"{_HELD}.{container}"

    def start(self, command: Sequence[str] = ()) -> None:
        """Let the kubelet start it again, and wait until it runs; a command of its own it cannot have."""
        if command:
            raise LabError(f"{self._what} is in a container: its command is in the DaemonSet")
        self.release()
        wait_for(lambda: self.running, _START_SECONDS, f"{self._what} to be started by the kubelet", interval=0.1)

    def release(self) -> None:
        """Let the kubelet start it again where it was held back."""
        self._machine.sh(f"if [ -e {self._held} ]; then kill -CONT $(cat {self._held}); rm {self._held}; fi")

    @property
    def held(self) -> bool:
        """Whether it is dead, and its kubelet does not know."""
        return self._machine.exec(["test", "-e", self._held]).ok

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return bool(self._find())

    @property
    def pid(self) -> int:
        """Its process, by the guest's count."""
        return self._found()[0]

    def signal(self, name: str) -> None:
        """Signal it and its children."""
        pid = self.pid
        self._machine.sh(f"kill -s {name} {pid}; pkill -{name} --parent {pid} || true")

    def kill(self, signal_name: str = "KILL") -> None:
        """Signal its process and wait for its end, which takes all others of the container along; it stays dead."""
        pid, shim = self._found()
        self._machine.sh(f"kill -STOP {shim}; echo {shim} >> {self._held}; kill -s {signal_name} {pid}")
        wait_for(lambda: not self.running, _END_SECONDS, f"{self._what} to end")

    def crash(self) -> None:
        """Kill it as a fault does: the kubelet notices, and starts the container again."""
        self._machine.sh(f"kill -s KILL {self.pid}")

    def log(self) -> str:
        """What it has written in those lives of which the kubelet keeps the logs."""
        return self._written("cat")

    def last_log(self) -> str:
        """What it has written in its last life."""
        return self._written("tail --lines=1")

    def _written(self, choice: str) -> str:
        files = f"$(ls -tr /var/log/pods/*/{self._container}/*.log | {choice})"
        return self._machine.sh(f"cat {files} | cut --delimiter=' ' --fields=4-", check=False)

    def _found(self) -> tuple[int, int]:
        found = self._find()
        if not found:
            raise LabError(f"{self._what} does not run")
        return found[0]

    def _find(self) -> list[tuple[int, int]]:
        lines = self._machine.exec(["sh", "-c", _ONE_IN_A_CONTAINER, self._command]).stdout.splitlines()
        return [(int(pid), int(shim)) for pid, shim in (line.split() for line in lines)]


class PodAgent(PlainAgent):
    """The agent of a kubelet node, and beside it the VRRP daemon with its supervisor, by a process' words."""

    def __init__(self, machine: GuestMachine) -> None:
        super().__init__(machine)
        self.container = ContainerProcess(machine, "m lvs_agent run ", "the agent", container="agent")
        what = "the supervisor of the VRRP daemon"
        self.vrrp_container = ContainerProcess(machine, "m lvs_agent vrrp ", what, container="vrrp")
        self._process, self.vrrp = self.container, self.vrrp_container

    def start_vrrp(self) -> None:
        """Let the kubelet start it again, and wait until it runs."""
        self.vrrp.start(())

    def start(
        self, *, kubeconfig: str | None = None, manifests: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> None:
        """Let the kubelet start it again, and wait until it runs; what it is started with is in the DaemonSet."""
        if kubeconfig is not None or manifests is not None or options:
            raise LabError(f"{self._machine.name}: its agent is a pod, with the credentials and options of a pod")
        self._process.start(())

    def release(self) -> None:
        """Let the kubelet start again what was held back of both."""
        self.container.release()
        self.vrrp_container.release()

    def run_verb(self, *arguments: str, timeout: float = 60) -> str:
        """Run another verb of the agent's program in a container of the same image beside the pod."""
        script = _VERB.format(state=STATE_DIRECTORY)
        self._machine.sh("mkdir -p /run/lvs-agent")
        return self._machine.exec(["sh", "-c", script, "sh", *arguments], check=True, timeout=timeout).stdout
