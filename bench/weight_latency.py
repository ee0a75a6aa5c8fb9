"""One weight change of a real server in a pool object, from the API server to the kernel of the active director.

It brings up a lab of plain nodes with the quick start, changes a weight 200 times by merge patch and
watches the director's table from inside the guest. Times end when the watcher's line reaches this process, so they hold
the guest's poll interval and the way over the exec channel. They begin twice: when the patch is sent, and when the API
server has answered it, which is after its commit; the first is the one that is judged.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from lightkube import Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from lvs_lab.errors import ExecError
from lvs_lab.exec_channel import Stream
from lvs_lab.lab_machine import GuestMachine
from support.deployment import Deployment, deployed
from support.manifests import documents, pool_text, service_text

CHANGES: Final = 200
ALLOWED_MILLISECONDS: Final = 500.0
NAME: Final = "measured"
VIP, PORT = "192.168.10.100", 80
SERVERS: Final = ("192.168.10.21", "192.168.10.22", "192.168.10.23")
FIRST_WEIGHT: Final = 1000
DEADLINE_SECONDS: Final = 20.0
Pool = create_namespaced_resource("lvs-operator.io", "v1alpha1", "LvsRealServerPool", "lvsrealserverpools")
WATCHER = """
import sys, time
wanted, last = sys.argv[1], None
while True:
    with open("/proc/net/ip_vs") as table:
        weight = next((line.split()[3] for line in table if line.split()[1:2] == [wanted]), None)
    if weight != last:
        print(weight, flush=True)
        last = weight
    time.sleep(0.002)  # the resolution of the measurement; nothing tells of a changed entry
"""


class TableWatcher:
    """The weight of one kernel entry, told by a program in the guest whenever it changes."""

    def __init__(self, guest: GuestMachine, entry: str) -> None:
        self._connection = guest.open(["python3", "-c", WATCHER, entry])
        self._changed = threading.Condition()
        self._seen: dict[str, float] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for kind, data in self._connection.frames():
                self._note(kind, data, time.perf_counter())
        except ExecError:
            if not self._closing:
                raise

    def _note(self, kind: Stream, data: bytes, now: float) -> None:
        if kind is Stream.STDOUT:
            with self._changed:
                self._seen.update(dict.fromkeys(data.decode().split(), now))
                self._changed.notify_all()
        else:
            sys.stderr.write(data.decode(errors="replace"))

    def wait(self, weight: int) -> float:
        """Wait for a weight that was not there before; when it came."""
        with self._changed:
            if not self._changed.wait_for(lambda: str(weight) in self._seen, DEADLINE_SECONDS):
                raise SystemExit(f"weight {weight} did not reach the kernel within {DEADLINE_SECONDS:g} s")
            return self._seen[str(weight)]

    def close(self) -> None:
        """End the program in the guest."""
        self._closing = True
        self._connection.close()
        self._thread.join()


def servers(weight: int) -> list[dict[str, Any]]:
    """The pool's real servers, the first with this weight."""
    return [
        {"name": f"rs{number}", "address": address, "weight": weight if number == 1 else 1}
        for number, address in enumerate(SERVERS, start=1)
    ]


def measure(deployment: Deployment, changes: int) -> tuple[list[float], list[float]]:
    """Milliseconds from sending each change, and from its answer, to the kernel entry."""
    check = {"intervalSeconds": 1, "timeoutSeconds": 1, "tcp": {}}
    for name in ("server-1", "server-2", "server-3"):
        deployment.lab.machine(name).serve(port=PORT)
    pool = pool_text(NAME, *servers(FIRST_WEIGHT), more={"healthCheck": check})
    deployment.apply(documents(pool, service_text(NAME, VIP, scheduler="wrr", pool=NAME)))
    deployment.wait_ready(NAME)
    active = deployment.get("lvsdg", "default")["status"]["active"]
    watcher = TableWatcher(deployment.lab.guest(active), f"{int(IPv4Address(SERVERS[0])):08X}:{PORT:04X}")
    client = Client(config=KubeConfig.from_file(deployment.lab.host_kubeconfig), namespace="default", trust_env=False)
    watcher.wait(FIRST_WEIGHT)
    from_sending, from_answer = [], []
    for weight in range(FIRST_WEIGHT + 1, FIRST_WEIGHT + 1 + changes):
        patch = {"spec": {"realServers": servers(weight)}}
        sent = time.perf_counter()
        client.patch(Pool, NAME, patch, patch_type=PatchType.MERGE)
        answered = time.perf_counter()
        seen = watcher.wait(weight)
        from_sending.append((seen - sent) * 1000)
        from_answer.append((seen - answered) * 1000)
    watcher.close()
    return from_sending, from_answer


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and the worst."""
    cuts = quantiles(milliseconds, n=100, method="inclusive")
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1), "max_ms": round(max(milliseconds), 1)}


def main(words: Sequence[str]) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="bench weight", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args(words)
    with (
        tempfile.TemporaryDirectory() as directory,
        deployed(f"bench-weight-{os.getpid()}", ["plain"], Path(directory)) as deployment,
    ):
        from_sending, from_answer = measure(deployment, options.changes)
    result = {"changes": options.changes, "sent": summary(from_sending), "answered": summary(from_answer)}
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{options.changes} weight changes, API object to kernel entry (allowed: p99 {ALLOWED_MILLISECONDS:g} ms)"
        )
        for since, figures in (("the patch was sent", from_sending), ("the API server answered", from_answer)):
            told = summary(figures)
            print(
                f"  since {since:24} p50 {told['p50_ms']:6.1f} ms   p99 {told['p99_ms']:6.1f} ms   "
                f"max {told['max_ms']:6.1f} ms"
            )
    return 0 if summary(from_sending)["p99_ms"] <= ALLOWED_MILLISECONDS else 1
