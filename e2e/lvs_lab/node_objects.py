"""Node objects of plain guests: what a kubelet would write of itself, made and kept fresh by the lab."""

import datetime as dt
import json

from lvs_lab.control_plane import ControlPlane
from lvs_lab.errors import CommandError
from lvs_lab.guest import Guest
from lvs_lab.topology import Machine, label_map

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 20
NO_KUBELET_TAINT = "lvs-lab.io/no-kubelet"


def now() -> str:
    """The time as Leases have it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def condition_time() -> str:
    """The time as conditions have it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ready_condition() -> dict[str, str]:
    """The condition of a node that works."""
    at = condition_time()
    return {
        "type": "Ready",
        "status": "True",
        "reason": "LabNodeReady",
        "message": "the guest runs",
        "lastHeartbeatTime": at,
        "lastTransitionTime": at,
    }


def node_object(machine: Machine) -> dict[str, object]:
    """The Node of a plain guest. Its taint keeps pods away, which nobody there would start."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": machine.name,
            "labels": {"kubernetes.io/hostname": machine.name, "kubernetes.io/os": "linux", **label_map(machine)},
        },
        "spec": {"taints": [{"key": NO_KUBELET_TAINT, "effect": "NoSchedule"}]},
    }


def lease_object(machine: Machine) -> dict[str, object]:
    """The Lease by which the node controller sees that a node lives."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": machine.name, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": machine.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now()},
    }


def register(control_plane: ControlPlane, machines: list[Machine]) -> None:
    """Make the Node objects and Leases of plain guests, all in one call; those that are there stay as they are."""
    items = [made for machine in machines for made in (node_object(machine), lease_object(machine))]
    if items:
        made = control_plane.kubectl(
            ["create", "--validate=false", "--filename=-"],
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
            check=False,
        )
        refused = [line for line in made.stderr.splitlines() if "(AlreadyExists)" not in line]
        if refused:
            raise CommandError("\n".join(refused), returncode=made.returncode, stderr=made.stderr)


def tell_status(control_plane: ControlPlane, guest: Guest) -> None:
    """Write what the kubelet of a freshly booted node would: addresses, boot id, Ready."""
    machine = guest.machine
    seen = guest.channel.run(
        ["sh", "-c", "cat /proc/sys/kernel/random/boot_id /etc/machine-id; uname -r"], check=True
    ).stdout.split()
    boot_id, machine_id, release = seen
    size = {"cpu": "1", "memory": f"{machine.memory_mib}Mi", "pods": "0"}
    status = {
        "addresses": [
            *({"type": "InternalIP", "address": str(address)} for address in machine.node_addresses),
            {"type": "Hostname", "address": machine.name},
        ],
        "capacity": size,
        "allocatable": size,
        "conditions": [ready_condition()],
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": boot_id,
            "containerRuntimeVersion": "none://0",
            "kernelVersion": release,
            "kubeProxyVersion": "",
            "kubeletVersion": "v0.0.0-lab",
            "machineID": machine_id,
            "operatingSystem": "linux",
            "osImage": "Debian GNU/Linux 13 (lab guest)",
            "systemUUID": machine_id,
        },
    }
    patch = json.dumps({"status": status})
    control_plane.kubectl(["patch", "node", machine.name, "--subresource=status", "--type=merge", f"--patch={patch}"])
