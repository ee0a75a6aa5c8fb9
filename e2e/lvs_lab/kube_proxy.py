"""kube-proxy: what it is told on every node, and as a process of a plain guest, a neighbour of the node agent there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lvs_lab.control_plane import POD_NETWORK, ControlPlane
from lvs_lab.errors import LabError
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for

MODES = ("iptables", "ipvs", "nftables")
_PROGRAMS = "/opt/kube"
_DIRECTORY = "/run/lvs-lab-kube-proxy"
_PID = f"{_DIRECTORY}/pid"
_LOG = f"{_DIRECTORY}/log"


def configuration(mode: str, kubeconfig: str) -> dict[str, Any]:
    """A KubeProxyConfiguration that leaves connection tracking as it is."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode,
        "clientConnection": {"kubeconfig": kubeconfig},
        "clusterCIDR": POD_NETWORK,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "0.0.0.0:10256",  # as it is by itself: load balancers ask there
    }


class KubeProxy:
    """The kube-proxy of one plain guest; a guest of which nobody asks for one sees nothing of it."""

    def __init__(self, machine: GuestMachine, plane: ControlPlane, programs: Path) -> None:
        self._machine = machine
        self._plane = plane
        self._programs = programs

    def start(self, mode: str, *, exclude_cidrs: Sequence[str] = (), sync_period: str = "2s") -> None:
        """Start it; it must not run yet.

        In ipvs mode it looks at the whole table each `sync_period`, which is 30 s where nobody says anything.
        """
        if self.running:
            raise LabError(f"{self._machine.name}: its kube-proxy runs already")
        if mode not in MODES:
            raise LabError(f"kube-proxy has no mode {mode!r}; it has {', '.join(MODES)}")
        credentials = self._plane.authority.certificate_kubeconfig("kube-proxy", self._plane.url)
        ipvs = {"syncPeriod": sync_period, "minSyncPeriod": "1s", "excludeCIDRs": list(exclude_cidrs)}
        told = {**configuration(mode, f"{_DIRECTORY}/kubeconfig"), "ipvs": ipvs}
        mount = f"mountpoint -q {_PROGRAMS} || mount -t hostfs -o ro,hostfs={self._programs} none {_PROGRAMS}"
        self._machine.sh(f"mkdir -p {_PROGRAMS} {_DIRECTORY}; {mount}")
        for name, text in (("kubeconfig", credentials), ("config.yaml", yaml.safe_dump(told))):
            self._machine.exec(["sh", "-c", f"umask 077; cat > {_DIRECTORY}/{name}"], stdin=text, check=True)
        command = f"{_PROGRAMS}/kube-proxy --config={_DIRECTORY}/config.yaml --hostname-override={self._machine.name}"
        # The shell is the leader of a new session and becomes kube-proxy.
        inner = f"echo $$ > {_PID}; exec {command} >> {_LOG} 2>&1 < /dev/null"
        self._machine.exec(["setsid", "--fork", "sh", "-c", inner], check=True)
        wait_for(lambda: self._machine.exec(["test", "-s", _PID]).ok, 5, "kube-proxy's process to start", interval=0.01)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._machine.exec(["sh", "-c", f"kill -0 $(cat {_PID}) 2>/dev/null"]).ok

    def stop(self) -> None:
        """End it. What it made in the kernel stays, as always with it."""
        self._machine.sh(f"kill $(cat {_PID})")
        wait_for(lambda: not self.running, 15, f"the kube-proxy of {self._machine.name} to end")

    def log(self) -> str:
        """All that it has written since the guest booted."""
        return self._machine.sh(f"cat {_LOG}", check=False)
