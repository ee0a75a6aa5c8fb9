"""kube-vip on two directors, in its Kubernetes mode: the holder of a Lease carries the address and says so by ARP.

Its program is not a part of this project: whoever has it compiled names it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.director_kinds import READY_SECONDS
from lvs_lab.plain_agent import PlainProcess
from lvs_lab.waiting import wait_for
from support.director_pair import DirectorPair

_DIRECTORY: Final = "/run/bench-kube-vip"
_ACCOUNT: Final = "bench-kube-vip"
_NAMESPACE: Final = "default"
_RIGHTS: Final = f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {_ACCOUNT}, namespace: {_NAMESPACE}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {_ACCOUNT}, namespace: {_NAMESPACE}}}
rules: [{{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {_ACCOUNT}, namespace: {_NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {_ACCOUNT}}}
subjects: [{{kind: ServiceAccount, name: {_ACCOUNT}, namespace: {_NAMESPACE}}}]
"""
_SECONDS: Final = {"leaseDuration": 5, "leaseRenewDuration": 3, "leaseRetry": 1}


def options(vip: str, node: str) -> list[str]:
    """Its command line for one director."""
    words = {
        "address": vip,
        "vipSubnet": "32",
        "interface": "eth0",
        "leaseName": _ACCOUNT,
        "namespace": _NAMESPACE,
        "nodeName": node,
        "k8sConfigPath": f"{_DIRECTORY}/kubeconfig",
        "prometheusHTTPServer": "",
        **{name: str(seconds) for name, seconds in _SECONDS.items()},
    }
    return [
        "manager",
        "--controlplane",
        "--arp",
        "--leaderElection",
        *(f"--{name}={value}" for name, value in words.items()),
    ]


@dataclass(kw_only=True)
class KubeVip:
    """The two of them."""

    pair: DirectorPair
    program: Path
    name: str = "kube-vip"
    _running: dict[str, PlainProcess] = field(default_factory=dict)

    def allow(self) -> None:
        """Give it what it may do at the API server."""
        self.pair.deployment.apply(_RIGHTS)

    def join(self, name: str) -> None:
        """The program starts."""
        guest = self.pair.deployment.lab.guest(name)
        credentials = self.pair.deployment.lab.agent_kubeconfig(name, _ACCOUNT, _NAMESPACE)
        place = f"{_DIRECTORY}/program"
        guest.sh(f"mkdir -p {place} && mount -t hostfs -o ro,hostfs={self.program.resolve().parent} none {place}")
        guest.exec(["sh", "-c", f"umask 077; cat > {_DIRECTORY}/kubeconfig"], stdin=credentials, check=True)
        self._running[name] = PlainProcess(guest, "bench-kube-vip.", "kube-vip")
        self._running[name].start([f"{place}/{self.program.name}", *options(self.pair.vip, name)])

    def leave(self, name: str) -> None:
        """The program ends."""
        self._running.pop(name).kill("TERM")
        self.pair.deployment.lab.guest(name).sh(f"umount {_DIRECTORY}/program")

    def wait_roles(self, master: str) -> None:
        """Wait until this one carries the address, and the other, where it has joined, knows whose the Lease is."""
        vip = self.pair.vip
        wait_for(lambda: self.pair.owners() == [master], READY_SECONDS, f"{master} to carry {vip} by kube-vip")
        other = self._running.get(self.pair.other(master))
        if other is not None:
            told = f"New leader leader={master}"
            wait_for(lambda: told in other.log(), READY_SECONDS, f"the other kube-vip to know of {master}")
