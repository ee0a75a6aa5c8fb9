"""What the demo asks of its lab: the service's state, the kernel's table, requests by the client."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from lvs_lab.errors import LabError
from lvs_lab.lab import Lab

SERVICE = "web"
VIP = "192.168.10.100"
CLIENT = "client"
# Below the ports that a kernel takes by itself (from 32,768 on).
_FIRST_PORT = 20_000


class DemoError(LabError):
    """The demo saw something else than it promised to show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceState:
    """The LvsVirtualService as its status tells."""

    ready: str
    reason: str
    message: str
    active: str
    """The director that holds the address; "" when none does."""
    up: int
    total: int

    @classmethod
    def of(cls, service: Mapping[str, Any]) -> "ServiceState":
        """What an LvsVirtualService's status says."""
        status = service.get("status", {})
        conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
        ready = conditions.get("Ready", {})
        counts = status.get("realServers", {})
        active = [director["node"] for director in status.get("directors", ()) if director["state"] == "Active"]
        return cls(
            ready=ready.get("status", "Unknown"),
            reason=ready.get("reason", ""),
            message=ready.get("message", ""),
            active=active[0] if active else "",
            up=counts.get("ready", 0),
            total=counts.get("total", 0),
        )

    def __str__(self) -> str:
        servers = f"real servers {self.up}/{self.total}"
        return f"Ready={self.ready:<8} {self.reason:<16} director {self.active or '-':<11} {servers}"


class DemoCluster:
    """A lab with kubelet nodes in which the demo plays."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._ports = count(_FIRST_PORT)

    def service(self) -> ServiceState:
        """How the service is now."""
        return ServiceState.of(self._get("lvsvirtualservice", SERVICE))

    def node_is_ready(self, name: str, boot_id: str) -> bool:
        """Whether the Node is Ready in this boot."""
        status = self._get("node", name)["status"]
        ready = next(c["status"] for c in status["conditions"] if c["type"] == "Ready")
        return bool(status["nodeInfo"]["bootID"] == boot_id and ready == "True")

    def node_is_bound(self, name: str, boot_id: str) -> bool:
        """Whether the node's agent has told, in this boot, that the address is bound and silent."""
        status = self._get("lvsnode", name).get("status", {})
        bound = [entry["address"] for entry in status.get("addresses", ()) if entry["state"] == "Bound"]
        return status.get("bootId") == boot_id and VIP in bound

    def boot_id(self, name: str) -> str:
        """Which boot of the node this is."""
        return self.lab.guest(name).out("cat", "/proc/sys/kernel/random/boot_id").strip()

    def table(self, director: str) -> str:
        """The kernel's table there, by a program that is not ours."""
        return self.lab.guest(director).out("ipvsadm", "-Ln")

    def weight(self, director: str, server: str) -> int | None:
        """The weight of a real server in the director's kernel; None where it has no entry."""
        address = re.escape(self.lab.guest(server).ip)
        found = re.search(rf"-> {address}:80\s+Route\s+(\d+)", self.table(director))
        return int(found[1]) if found else None

    def request(self) -> str | None:
        """One request by the client: who answered; None when nobody did within a second.

        Each has a port of its own, outside of those that the requests of `replies` go out by. A lost one leaves a
        half-open connection to the dead server in the director's table for a minute, and the kernel sends whatever
        comes from the same port there, whichever server is next.
        """
        command = ["curl", "--silent", "--max-time", "1", "--local-port", str(next(self._ports)), f"http://{VIP}/"]
        done = self.lab.machine(CLIENT).exec(command)
        return done.stdout.strip() if done.ok else None

    def replies(self, requests: int) -> Counter[str]:
        """Requests by the client, each on a connection of its own, counted by who answered."""
        client = self.lab.machine(CLIENT)
        command = ["curl", "--silent", "--max-time", "2", "--header", "Connection: close"]
        done = client.exec([*command, f"http://{VIP}/[1-{requests}]"], timeout=300)
        return Counter(done.stdout.split())

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.lab.kubectl("get", kind, name, "--output=json").stdout)
        return answer
