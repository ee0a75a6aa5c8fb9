"""A node with a real kubelet: containerd, kubelet and kube-proxy in a guest."""

import json
import shutil
from pathlib import Path

import yaml

from lvs_lab.control_plane import SERVICE_NETWORK, ControlPlane
from lvs_lab.errors import ExecError
from lvs_lab.images import PAUSE_IMAGE
from lvs_lab.kube_proxy import configuration as kube_proxy_configuration
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.network import API_DEVICE
from lvs_lab.places import Places
from lvs_lab.topology import Machine, Topology, label_map
from lvs_lab.waiting import wait_for

_READY_SECONDS = 180


class KubeletNode:
    """One such node."""

    def __init__(self, places: Places, topology: Topology, guest: GuestMachine, plane: ControlPlane) -> None:
        self.guest = guest
        self.machine: Machine = guest.machine
        self._topology = topology
        self._plane = plane
        self._directory = places.node(guest.name) / "kubelet"

    def start(self, store: Path) -> None:
        """Start its programs in the booted guest, over a containerd directory with images."""
        self._write_files()
        self.guest.exec(["/lab/kubelet-start", str(self._directory), str(store)], check=True, timeout=60)

    def wait_until_ready(self) -> None:
        """Wait until its Node is Ready as this boot's kubelet says."""
        boot_id = self.guest.out("cat", "/proc/sys/kernel/random/boot_id").strip()
        path = '{.status.nodeInfo.bootID} {.status.conditions[?(@.type=="Ready")].status}'

        def ready() -> bool:
            seen = self._plane.kubectl(["get", "node", self.machine.name, f"--output=jsonpath={path}"], check=False)
            if seen.stdout.split() == [boot_id, "True"]:
                return True
            raise ExecError(f"{seen.stdout or seen.stderr}; the kubelet's log ends: {self._log_end()}")

        wait_for(ready, _READY_SECONDS, f"node {self.machine.name} to be Ready", interval=0.25)

    def import_image(self, archive: Path) -> None:
        """Import one more docker archive into the running containerd."""
        target = "/opt/archive"
        mount = 'mkdir -p "$0" && mount -t hostfs -o ro,hostfs="$1" none "$0"'
        self.guest.exec(["sh", "-c", mount, target, str(archive.resolve().parent)], check=True)
        try:
            self.guest.exec(
                ["ctr", "--namespace", "k8s.io", "images", "import", f"{target}/{archive.name}"],
                check=True,
                timeout=300,
            )
        finally:
            self.guest.exec(["umount", target], check=True)

    def _log_end(self) -> str:
        return self.guest.sh("tail -n 3 /var/log/kubelet.log", check=False).strip()

    def _write_files(self) -> None:
        files = self._directory
        files.mkdir(parents=True, exist_ok=True)
        authority = self._plane.authority
        name = f"node.{self.machine.name}"
        for kind in ("crt", "key"):
            shutil.copy(authority.directory / f"{name}.{kind}", files / f"node.{kind}")
        shutil.copy(authority.certificate, files / "ca.crt")
        (files / "kubeconfig").write_text(authority.certificate_kubeconfig(name, self._plane.url))
        (files / "kube-proxy.kubeconfig").write_text(authority.certificate_kubeconfig("kube-proxy", self._plane.url))
        (files / "kubelet.yaml").write_text(yaml.safe_dump(_KUBELET))
        kube_proxy = kube_proxy_configuration(self.machine.kube_proxy, "/opt/node/kube-proxy.kubeconfig")
        (files / "kube-proxy.yaml").write_text(yaml.safe_dump(kube_proxy))
        (files / "containerd.toml").write_text(_CONTAINERD)
        (files / "cni.conflist").write_text(json.dumps(cni_configuration(self.machine)))
        (files / "pod-routes").write_text("".join(f"{line}\n" for line in pod_routes(self._topology, self.machine)))
        labels = ",".join(f"{key}={value}" for key, value in label_map(self.machine).items())
        addresses = ",".join(str(address) for address in self.machine.node_addresses)
        arguments = [
            f"--hostname-override={self.machine.name}",
            f"--node-ip={addresses}",
            f"--node-labels={labels}",
            "--v=1",
        ]
        settings = f"KUBELET_ARGUMENTS='{' '.join(arguments)}'\nKUBE_PROXY={self.machine.kube_proxy}\n"
        (files / "settings.sh").write_text(settings)


def pod_routes(topology: Topology, machine: Machine) -> list[str]:
    """Routes from one node to the pods of the others, over the management network, which all of them share.

    And to Services, whatever becomes of the node's own cards: by the API server's pods on the host's network reach it.
    """
    others = [node for node in topology.nodes if node.kubelet and node != machine]
    pods = [f"route add {other.pod_network} via {topology.control_address(other).ip}" for other in others]
    return [*pods, f"route add {SERVICE_NETWORK} dev {API_DEVICE}"]


def cni_configuration(machine: Machine) -> dict[str, object]:
    """The bridge plug-in with the node's own range."""
    ranges = [[{"subnet": str(machine.pod_network)}]]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": "/opt/node/ca.crt"},
    },
    "authorization": {"mode": "Webhook"},
    "tlsCertFile": "/opt/node/node.crt",
    "tlsPrivateKeyFile": "/opt/node/node.key",
    "cgroupDriver": "cgroupfs",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "failSwapOn": False,
    "localStorageCapacityIsolation": False,
    "evictionHard": {"memory.available": "20Mi"},
    "resolvConf": "/etc/resolv.conf",
    # The Lease is renewed at a quarter of this time; the node controller's grace is 20 s.
    "nodeLeaseDurationSeconds": 16,
    "nodeStatusUpdateFrequency": "4s",
    "registerNode": True,
    # A container that tests kill again and again is started again after this time, and not after minutes.
    "featureGates": {"KubeletCrashLoopBackOffMax": True},
    "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
}

_CONTAINERD = f"""version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  enable_selinux = false
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = false
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""
