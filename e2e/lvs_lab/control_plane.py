"""The lab's control plane: etcd, API server, controller manager and scheduler, all real, in their own namespace."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lvs_lab import processes
from lvs_lab.artifacts import remove_tree
from lvs_lab.certificates import Authority
from lvs_lab.errors import CommandError, NotUpError
from lvs_lab.host_commands import Completed, run
from lvs_lab.places import Places
from lvs_lab.topology import Topology
from lvs_lab.waiting import wait_for

API_PORT = 6443
SERVICE_NETWORK = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
POD_NETWORK = "10.244.0.0/16"
_ETCD = "http://127.0.0.1:2379"
_ETCD_PEER = "http://127.0.0.1:2380"
_READY_SECONDS = 120
_GRACE_SECONDS = 20
_RELIST_SECONDS = 60
"""How long a controller may rest before it asks again an API server that was away (client-go, reflector.go)."""
NOT_READY_SECONDS = _RELIST_SECONDS + _GRACE_SECONDS + 10
"""The longest until a node without power is NotReady, the API server having been away shortly before."""
_DAEMONS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class ControlPlane:
    """The control plane of one lab; any process can make this object for one that another started."""

    def __init__(self, places: Places, topology: Topology, programs: Path) -> None:
        self._places = places
        self._topology = topology
        self._programs = programs
        self.authority = Authority(directory=places.run / "credentials")

    @property
    def url(self) -> str:
        """The API server's address for nodes, and in the lab's own namespace."""
        return f"https://{self._topology.api_address}:{API_PORT}"

    @property
    def admin_kubeconfig(self) -> Path:
        """Credentials that may do everything, for use in the namespace of the control plane."""
        return self.authority.directory / "admin.kubeconfig"

    def start_missing(self) -> None:
        """Start what does not run, with the state that it had; the first time, make the credentials.

        The data and credentials of a control plane that was once started are never made anew.
        """
        whole = self.authority.directory / "whole"
        if not whole.exists():
            self._create_credentials()
            whole.touch()
        for name in _DAEMONS:
            if self.program(name).pid is None:
                self.start(name)
            if name == "kube-apiserver":
                self.wait_until_ready()

    def repair(self) -> None:
        """Let what is paused go on, and start what has ended."""
        for name in _DAEMONS:
            if self.program(name).stopped:
                self.resume(name)
        if any(self.program(name).pid is None for name in _DAEMONS):
            self.start_missing()

    def begin_anew(self) -> None:
        """Lose every object, as with an etcd that was restored empty: another cluster, with the same credentials."""
        for name in reversed(_DAEMONS):
            self.stop(name)
        remove_tree(self._etcd_data)
        self.start_missing()

    def program(self, name: str) -> processes.Program:
        """One of its daemons, to be paused or ended by a test."""
        return processes.Program(self._places.pid(name))

    def start(self, name: str) -> None:
        """Start one daemon, with the state that it had."""
        processes.start(
            self._places.pid(name),
            [str(self._programs / name), *self._arguments(name)],
            log=self._places.log(name),
            netns=self._places.api,
        )

    def stop(self, name: str = "kube-apiserver") -> None:
        """End one daemon in an instant, as a crash does; its clients are refused then."""
        self.program(name).kill()

    def pause(self, name: str = "kube-apiserver") -> None:
        """Stop one daemon where it is; its clients hear nothing then."""
        self.program(name).signal(signal.SIGSTOP)

    def resume(self, name: str = "kube-apiserver") -> None:
        """Let a paused daemon go on."""
        self.program(name).signal(signal.SIGCONT)

    def wait_until_ready(self) -> None:
        """Wait until the API server says it is ready."""

        def must_run() -> None:
            for name in _DAEMONS[:2]:
                if self.program(name).pid is None:
                    raise NotUpError(f"{name} ended; its log: {self._places.log(name)}")

        wait_for(
            lambda: self.kubectl(["get", "--raw", "/readyz"], timeout=5).stdout == "ok",
            _READY_SECONDS,
            "the API server to be ready",
            always=must_run,
        )

    def wait_until_settled(self) -> None:
        """Wait until the controllers have made the default ServiceAccount, without which no pod is accepted."""
        wait_for(
            lambda: self.kubectl(["--namespace", "default", "get", "serviceaccount", "default"], check=False).ok,
            _READY_SECONDS,
            "the default ServiceAccount",
            interval=0.2,
        )

    def kubectl(
        self, arguments: Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float = 120
    ) -> Completed:
        """Run kubectl as admin."""
        return run(self.kubectl_command(arguments), netns=self._places.api, stdin=stdin, check=check, timeout=timeout)

    def kubectl_command(self, arguments: Sequence[str]) -> list[str]:
        """The command line of kubectl as admin, to be run in the namespace of the control plane."""
        cache = self._places.run / "kubectl-cache"
        return [
            str(self._programs / "kubectl"),
            f"--kubeconfig={self.admin_kubeconfig}",
            f"--cache-dir={cache}",
            *arguments,
        ]

    def attached_kubectl(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Command line and environment of kubectl as admin for a person at a terminal, who may have it run plug-ins.

        It refuses options that stand before a plug-in's name. `kubectl lvs` is the one of this Python environment.
        """
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.admin_kubeconfig),
            "KUBECACHEDIR": str(self._places.run / "kubectl-cache"),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        }
        return [str(self._programs / "kubectl"), *arguments], environment

    def token(self, service_account: str, namespace: str, *, node: str | None = None, hours: int = 24) -> str:
        """A token of a ServiceAccount, bound to a Node where one is named, as a pod's token there would be."""
        bound = ["--bound-object-kind=Node", f"--bound-object-name={node}"] if node else []
        arguments = ["--namespace", namespace, "create", "token", service_account, f"--duration={hours}h", *bound]
        return self.kubectl(arguments).stdout.strip()

    def _create_credentials(self) -> None:
        authority = self.authority
        authority.create()
        names = [
            f"IP:{self._topology.api_address}",
            f"IP:{KUBERNETES_SERVICE}",
            "IP:127.0.0.1",
            "DNS:localhost",
            *(f"DNS:{name}" for name in ("kubernetes", "kubernetes.default", "kubernetes.default.svc")),
        ]
        authority.issue("apiserver", user="kube-apiserver", group="lvs-lab", alternative_names=names)
        for name, user, group in (
            ("admin", "admin", "system:masters"),
            ("controller-manager", "system:kube-controller-manager", "lvs-lab"),
            ("scheduler", "system:kube-scheduler", "lvs-lab"),
            ("kube-proxy", "system:kube-proxy", "system:node-proxier"),
            ("kubelet-client", "kubelet-client", "system:masters"),
        ):
            authority.issue(name, user=user, group=group)
            (authority.directory / f"{name}.kubeconfig").write_text(authority.certificate_kubeconfig(name, self.url))
        for node in self._topology.nodes:
            if node.kubelet:
                own = [f"DNS:{node.name}", *(f"IP:{address}" for address in node.node_addresses)]
                authority.issue(
                    f"node.{node.name}", user=f"system:node:{node.name}", group="system:nodes", alternative_names=own
                )

    @property
    def _etcd_data(self) -> Path:
        return self._places.memory / "etcd"

    def _arguments(self, name: str) -> list[str]:
        files = self.authority.directory

        def identity(who: str) -> list[str]:
            return [f"--{use}kubeconfig={files / who}.kubeconfig" for use in ("", "authentication-", "authorization-")]

        match name:
            case "etcd":
                return [
                    f"--data-dir={self._etcd_data}",
                    f"--listen-client-urls={_ETCD}",
                    f"--advertise-client-urls={_ETCD}",
                    f"--listen-peer-urls={_ETCD_PEER}",
                    f"--initial-advertise-peer-urls={_ETCD_PEER}",
                    f"--initial-cluster=default={_ETCD_PEER}",
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                ]
            case "kube-apiserver":
                return self._apiserver_arguments(files)
            case "kube-controller-manager":
                return [
                    *identity("controller-manager"),
                    f"--service-account-private-key-file={files}/sa.key",
                    f"--root-ca-file={files}/ca.crt",
                    "--use-service-account-credentials=true",
                    "--leader-elect=false",
                    f"--cluster-cidr={POD_NETWORK}",
                    "--allocate-node-cidrs=false",
                    # A node without power is NotReady soon: a test of it shall not take most of a minute.
                    f"--node-monitor-grace-period={_GRACE_SECONDS}s",
                    "--node-monitor-period=1s",
                    "--bind-address=127.0.0.1",
                ]
            case "kube-scheduler":
                return [*identity("scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1"]
            case _:
                raise CommandError(
                    f"the control plane has no {name}; it has {', '.join(_DAEMONS)}", returncode=2, stderr=""
                )

    def _apiserver_arguments(self, files: Path) -> list[str]:
        return [
            f"--etcd-servers={_ETCD}",
            f"--secure-port={API_PORT}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={self._topology.api_address}",
            f"--tls-cert-file={files}/apiserver.crt",
            f"--tls-private-key-file={files}/apiserver.key",
            f"--client-ca-file={files}/ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files}/sa.pub",
            f"--service-account-signing-key-file={files}/sa.key",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={files}/kubelet-client.crt",
            f"--kubelet-client-key={files}/kubelet-client.key",
            f"--kubelet-certificate-authority={files}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
        ]
