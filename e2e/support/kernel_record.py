"""What kernels hold for an address, looked at from outside a few times a second: what goes is recorded."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from lvs_lab.errors import LabError
from support.deployment import Deployment
from support.tables import parse_table

LOOK_SECONDS: Final = 0.25
"""Between looks; a look at five guests takes some tens of milliseconds."""
_LOOK: Final = "ipvsadm -Ln --exact 2>/dev/null; echo =; ip -json address show"


@dataclass(kw_only=True)
class KernelRecord:
    """What was there at the first look and not at a later one."""

    began: dict[str, frozenset[str]]
    """By node, what it held then: services, real servers with weight, addresses on devices."""
    looks: int = 0
    losses: list[str] = field(default_factory=list)
    started: float = 0.0
    """Monotonic clock; seconds are told from here on."""
    changes: list[tuple[float, str]] = field(default_factory=list)
    """When what came (+) and went (-), of nodes that may lose something, too."""
    may_lose: frozenset[str] = frozenset()
    """Nodes whose losses are none."""
    _missing: dict[str, frozenset[str]] = field(default_factory=dict)
    _held: dict[str, frozenset[str]] = field(default_factory=dict)

    def note(self, node: str, held: frozenset[str], seconds: float) -> None:
        """One look at one node."""
        before = self._held.get(node, self.began[node])
        changed = [*(f"-{what}" for what in sorted(before - held)), *(f"+{what}" for what in sorted(held - before))]
        self.changes += [(seconds, f"{node} {what}") for what in changed]
        self._held[node] = held
        self.looks += 1
        if node in self.may_lose:
            return
        missing = self.began[node] - held
        new = missing - self._missing.get(node, frozenset())
        self.losses += [f"after {seconds:.1f} s: {node} lost {what}" for what in sorted(new)]
        self._missing[node] = missing


def held_for(address: str, text: str) -> frozenset[str]:
    """From the output of both tools: what a kernel holds for one address."""
    table, _, links = text.partition("\n=\n") if not text.startswith("=") else ("", "", text.partition("=\n")[2])
    held = set()
    for key, service in parse_table(table).items():
        if address in key:
            held.add(key)
            held |= {f"{key} -> {one}" for one, destination in service.destinations.items() if destination.weight}
    for link in json.loads(links):
        if any(info.get("local") == address for info in link["addr_info"]):
            held.add(f"{address} on {link['ifname']}")
    return frozenset(held)


@contextmanager
def kernel_record(
    deployment: Deployment, address: str, nodes: Sequence[str], *, may_lose: Sequence[str] = ()
) -> Iterator[KernelRecord]:
    """Look at the nodes for as long as the context lasts. Raises AssertionError for one that holds nothing of it."""

    def look(node: str) -> frozenset[str]:
        return held_for(address, deployment.lab.guest(node).sh(_LOOK))

    record = KernelRecord(began={node: look(node) for node in nodes}, may_lose=frozenset(may_lose))
    assert all(record.began.values()), f"nothing is there to be lost: {record.began}"
    record.started = time.monotonic()
    end = threading.Event()
    failures: list[LabError] = []

    def run() -> None:
        while not end.wait(LOOK_SECONDS):
            try:
                for node in nodes:
                    record.note(node, look(node), time.monotonic() - record.started)
            except LabError as error:
                failures.append(error)
                return

    thread = threading.Thread(target=run, name=f"kernel record of {address}", daemon=True)
    thread.start()
    try:
        yield record
    finally:
        end.set()
        thread.join(60)
    assert not thread.is_alive(), "the looks do not end"
    assert failures == []
    assert record.looks >= len(nodes)
