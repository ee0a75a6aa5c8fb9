"""A cluster with lvs-operator as tests use it: its objects by kubectl, and what its nodes' kernels have."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lvs_lab.errors import LabError
from lvs_lab.host_commands import Completed
from lvs_lab.shell_machine import ShellMachine
from lvs_lab.waiting import wait_for
from support.tables import Counters, Shape, Table, parse_counters, parse_table, shape

READY_SECONDS: Final = 40.0
SYSCTLS: Final = ("arp_ignore", "arp_announce", "rp_filter", "forwarding", "send_redirects", "accept_local")

Json = dict[str, Any]


class ClusterLooks:
    """What follows from having kubectl and the nodes of a cluster, whoever made it."""

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        """Run kubectl as admin; with `check`, anything but 0 raises `CommandError`."""
        raise NotImplementedError

    def node(self, name: str) -> ShellMachine:
        """A node, to run commands in its network: ipvsadm, ip and Python are there."""
        raise NotImplementedError

    def describe(self) -> str:
        """What somebody who looks for a fault wants to see first."""
        raise NotImplementedError

    # objects

    def apply(self, *what: Path | str, namespace: str = "default") -> None:
        """Apply files, directories or texts of YAML, as a user does."""
        for one in what:
            source = [f"--filename={one}"] if isinstance(one, Path) else ["--filename=-"]
            stdin = None if isinstance(one, Path) else one
            self.kubectl("--namespace", namespace, "apply", *source, stdin=stdin)

    def delete(self, *what: Path | str, namespace: str = "default") -> None:
        """Delete what files, directories or texts of YAML name."""
        for one in what:
            source = [f"--filename={one}"] if isinstance(one, Path) else ["--filename=-"]
            stdin = None if isinstance(one, Path) else one
            self.kubectl("--namespace", namespace, "delete", "--ignore-not-found", *source, stdin=stdin)

    def patch(self, kind: str, name: str, spec: Json) -> None:
        """Merge into an object's spec."""
        self.kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def get(self, kind: str, name: str) -> Json:
        """One object."""
        found: Json = json.loads(self.kubectl("get", kind, name, "--output=json").stdout)
        return found

    def names(self, kind: str) -> list[str]:
        """The names of all objects of a kind in every namespace."""
        text = self.kubectl("get", kind, "--all-namespaces", "--output=json").stdout
        return [item["metadata"]["name"] for item in json.loads(text)["items"]]

    def condition(self, name: str, type_: str = "Ready", *, kind: str = "lvsvs") -> Json:
        """A condition of a service, empty while there is none that speaks of the present spec."""
        found = self.get(kind, name)
        for condition in found.get("status", {}).get("conditions", ()):
            if condition["type"] == type_ and condition.get("observedGeneration") == found["metadata"]["generation"]:
                return dict(condition)
        return {}

    def wait_condition(
        self,
        name: str,
        type_: str,
        status: str,
        reason: str | None = None,
        *,
        kind: str = "lvsvs",
        deadline: float = READY_SECONDS,
    ) -> Json:
        """Wait until a condition says so of the present generation; return it."""

        def seen() -> Json:
            condition = self.condition(name, type_, kind=kind)
            assert condition.get("status") == status, condition
            assert reason is None or condition.get("reason") == reason, condition
            return condition

        return wait_for(seen, deadline, f"{kind} {name} to have {type_}={status} {reason or ''}", interval=0.2)

    def wait_ready(self, *names: str, deadline: float = READY_SECONDS) -> None:
        """Wait until services are Ready."""
        for name in names:
            self.wait_condition(name, "Ready", "True", deadline=deadline)

    # kernels

    def table(self, node: str) -> Table:
        """The IPVS table of a node, as ipvsadm says."""
        return parse_table(self.node(node).out("ipvsadm", "-Ln", "--exact"))

    def shape(self, node: str) -> Shape:
        """The same without what is counted."""
        return shape(self.table(node))

    def timeouts(self, node: str) -> tuple[int, ...]:
        """TCP, TCP after a FIN, UDP: seconds."""
        shown = self.node(node).out("ipvsadm", "-L", "--timeout")
        return tuple(int(word) for word in shown.split(":")[1].split())

    def vs_sysctl(self, node: str, name: str) -> int:
        """One of net.ipv4.vs, by the kernel's name."""
        return int(self.node(node).out("sysctl", "--values", f"net.ipv4.vs.{name}"))

    def counters(self, node: str) -> dict[tuple[str, str], Counters]:
        """The counters of a node's table; the kernel updates them every two seconds."""
        return parse_counters(self.node(node).out("ipvsadm", "-Ln", "--stats", "--exact"))

    def wait_shape(self, node: str, wanted: Shape, *, deadline: float = READY_SECONDS, what: str = "") -> None:
        """Wait until a node's table has exactly this shape."""

        def seen() -> bool:
            assert self.shape(node) == wanted
            return True

        wait_for(seen, deadline, what or f"the table of {node}", interval=0.1)

    def wait_weight(self, node: str, service: str, server: str, weight: int | None, *, deadline: float) -> float:
        """Wait until a destination has this weight, None for no entry; return the seconds it took."""
        start = time.monotonic()

        def seen() -> bool:
            destination = self.table(node)[service].destinations.get(server)
            has = None if destination is None else destination.weight
            assert has == weight, f"it has {has}"
            return True

        wait_for(seen, deadline, f"{service} -> {server} on {node} to have weight {weight}", interval=0.05)
        return time.monotonic() - start

    def addresses(self, node: str, device: str) -> set[str]:
        """The addresses of a device, with prefix lengths; without link-local ones."""
        text = self.node(node).out("ip", "-json", "address", "show")
        for link in json.loads(text):
            if link["ifname"] == device:
                infos = [info for info in link["addr_info"] if info["scope"] != "link"]
                return {f"{info['local']}/{info['prefixlen']}" for info in infos}
        return set()

    def sysctls(self, node: str) -> dict[str, str]:
        """What of a node's network settings an agent may change, by path below /proc/sys/net."""
        patterns = [f"ipv4/conf/*/{name}" for name in SYSCTLS]
        patterns += [f"ipv6/conf/*/{name}" for name in ("forwarding", "force_forwarding", "accept_ra")]
        # force_forwarding is in new kernels only.
        text = self.node(node).sh(f"cd /proc/sys/net && grep -sH . ipv4/ip_forward {' '.join(patterns)} || true")
        return dict(line.split(":", 1) for line in text.splitlines())


def described(parts: Mapping[str, Callable[[], str]]) -> str:
    """Each part under its title; what cannot be seen says why: a node may be off, the API server away."""

    def text(part: Callable[[], str]) -> str:
        try:
            return part()
        except LabError as error:
            return f"not to be seen: {error}"

    return "".join(f"--- {title}\n{text(part)}\n" for title, part in parts.items())
