"""P7: from an API object that a user edits to the kernel of the active director, ten edits a second.

kube-proxy does the like in ipvs mode for Services and EndpointSlices: in the same run, in a guest of its own with the
same kernel, at the same API server. It knows no weights, so what is compared is one real server more; ours is held to
weights, too. The two take turns, and neither has anything to do while the other is measured. Guests come before the
machine's other programs, and kube-proxy is in one: so does the operator, which is a program of the machine.

The edits come at their pace whether or not the one before has arrived. Times begin when the patch is sent, and hold the
guest's look every 5 ms and the way over the exec channel.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from lightkube import Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.types import PatchType

from bench.figure import Figure, Goal, Measured
from bench.kernel_watch import Arrival, KernelWatch
from bench.large_table import Shape
from bench.seen_by_watch import WeightsSeen
from lvs_api.kinds import REAL_SERVER_POOL, SERVICE_SLICE
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.processes import URGENT_NICE
from lvs_lab.waiting import wait_for
from support.deployment import Deployment, deployed
from support.manifests import documents, pool_text, service_text

STEPS: Final = (Shape(services=100, real_servers=10), Shape(services=1_000, real_servers=10))
PACE_SECONDS: Final = 0.1
KUBE_PROXY_GUEST: Final = "server-3"
_VIP, _FIRST_PORT = "192.168.10.101", 10_000
_FIRST_SERVER, _ROOM = IPv4Address("172.20.0.1"), 64
"""Addresses for each service: the first ten for the beginning, others for those that come."""
_FIRST_WEIGHT: Final = 1_000
_PER_CALL: Final = 250
_TABLE_DEADLINE: Final = 400.0
_ACTIVE_DEADLINE: Final = 60.0
_QUIET_SECONDS: Final = 6.0
"""Longer than counts are kept back."""
_FIRST: Final = "rs0"
Pool = create_namespaced_resource("lvs-operator.io", "v1alpha1", "LvsRealServerPool", "lvsrealserverpools")
LABELS: Final = {"bench": "commit-latency"}


class Edit(NamedTuple):
    """What a user does, and what comes of it."""

    arrival: Arrival
    carry_out: Callable[[], object]


def _be_urgent(pid: int) -> None:
    """As guests are, also where the kernel shares processors among sessions first (sched(7))."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), URGENT_NICE)
    session = Path(f"/proc/{pid}/autogroup")
    if session.exists():
        session.write_text(f"{URGENT_NICE}", encoding="ascii")


def ours(what: str, shape: Shape) -> str:
    """Name of a series."""
    return f"{_members(shape)}, ours: {what}, to the kernel"


def _members(shape: Shape) -> str:
    return f"{shape.services * shape.real_servers:,} members"


def _theirs(shape: Shape) -> str:
    return f"{_members(shape)}, kube-proxy: one endpoint more"


def _agent_writes(shape: Shape) -> str:
    return f"{_members(shape)}, writes of the active director's agent"


WEIGHT, MORE = "a weight", "one real server more"
SLICE, FLOOR = "a weight, of this to the slice seen by a watch", "floor: the same patch, seen in the pool by a watch"
FIGURE: Final = Figure(
    name="P7",
    title="commit to kernel, ten edits a second",
    ways={},
    ours="",
    goals=tuple(
        goal
        for shape in STEPS
        for goal in (
            *(
                Goal(series=ours(MORE, shape), peer=_theirs(shape), percentile=percentile, at_most=1)
                for percentile in (50, 99)
            ),
            Goal(series=_agent_writes(shape), at_most=1),
        )
    ),
    units={_agent_writes(shape): "a second" for shape in STEPS},
)


@dataclass(kw_only=True)
class CommitLatency:
    """A lab with everything in it, and what was measured there."""

    deployment: Deployment
    edits: int
    measured: Measured = field(default_factory=Measured)

    def measure(self) -> Measured:
        """Both sizes, each with ours and kube-proxy."""
        kubeconfig = KubeConfig.from_file(self.deployment.lab.host_kubeconfig)
        client = Client(config=kubeconfig, namespace="default", trust_env=False)
        active = self.deployment.lab.guest(wait_for(self._active, _ACTIVE_DEADLINE, "an active director"))
        proxied = self.deployment.lab.guest(KUBE_PROXY_GUEST)
        self.deployment.lab.kube_proxy(KUBE_PROXY_GUEST).start("ipvs", sync_period="30s")
        _be_urgent(self.deployment.operator.process.pid)
        there = 0
        for shape in STEPS:
            numbers = range(there, shape.services)
            self._create(list(our_objects(numbers, shape.real_servers)))
            self._create(list(their_objects(numbers, shape.real_servers)))
            self._wait_for_table(active, shape)
            self._wait_for_table(proxied, shape)
            there = shape.services
            self._wait_until_told()
            self._ours(client, active, shape, numbers)
            self._theirs(client, proxied, shape, numbers)
        return self.measured

    def _wait_until_told(self) -> None:
        """What the new objects lead to is no part of it: until the operator has written nothing for a while."""
        wrote = 'lvs_operator_rounds_total{result="wrote"}'

        def is_quiet() -> bool:
            before = self.deployment.operator.labelled(wrote)
            time.sleep(_QUIET_SECONDS)  # the window that is looked at
            after = self.deployment.operator.labelled(wrote)
            assert before == after, f"{after - before:.0f} rounds in {_QUIET_SECONDS:g} s"
            return True

        wait_for(is_quiet, _TABLE_DEADLINE, "the operator to have told of all objects")

    def _active(self) -> str:
        name: str = self.deployment.get("lvsdg", "default").get("status", {}).get("active", "")
        return name

    def _create(self, texts: Sequence[str]) -> None:
        for start in range(0, len(texts), _PER_CALL):
            text = documents(*texts[start : start + _PER_CALL])
            self.deployment.lab.kubectl("create", "--namespace=default", "--filename=-", stdin=text)

    def _wait_for_table(self, guest: GuestMachine, shape: Shape) -> None:
        wanted = shape.services * shape.real_servers

        def is_whole() -> bool:
            found = int(guest.sh("grep -c -- '->.*Masq' /proc/net/ip_vs", check=False) or 0)
            assert found >= wanted, f"{found} of {wanted} real servers"
            return True

        wait_for(is_whole, _TABLE_DEADLINE, f"{wanted} real servers in the kernel of {guest.name}", interval=2)

    def _ours(self, client: Client, active: GuestMachine, shape: Shape, numbers: range) -> None:
        def patch(number: int, wanted: list[dict[str, Any]]) -> Callable[[], object]:
            body = {"spec": {"realServers": wanted}}
            return partial(client.patch, Pool, name_of(number), body, patch_type=PatchType.MERGE)

        def weigh(number: int, turn: int) -> Edit:
            weight = _FIRST_WEIGHT + turn
            arrival = Arrival(_VIP, _FIRST_PORT + number, address_of(number, 0), weight)
            return Edit(arrival, patch(number, servers(number, shape.real_servers, weight=weight)))

        def add(number: int, turn: int) -> Edit:
            there = shape.real_servers + 1 + turn // len(numbers)
            arrival = Arrival(_VIP, _FIRST_PORT + number, address_of(number, there - 1), None)
            return Edit(arrival, patch(number, servers(number, there)))

        metric = 'lvs_agent_status_writes_total{result="ok"}'
        before, began = self.deployment.agent_metric(active.name, metric), time.monotonic()
        with KernelWatch(active) as kernel, WeightsSeen(self.deployment.lab.host_kubeconfig, _FIRST) as seen:
            sent = self._edit(kernel, numbers, weigh, ours(WEIGHT, shape))
            for turn, start in enumerate(sent):
                name, weight = name_of(numbers[turn % len(numbers)]), _FIRST_WEIGHT + turn
                for kind, what in ((SERVICE_SLICE, SLICE), (REAL_SERVER_POOL, FLOOR)):
                    self._add(f"{_members(shape)}, {what}", (seen.wait(kind, name, weight) - start) * 1000)
        with KernelWatch(active) as kernel:
            self._edit(kernel, numbers, add, ours(MORE, shape))
        writes = self.deployment.agent_metric(active.name, metric) - before
        self._add(_agent_writes(shape), writes / (time.monotonic() - began))

    def _theirs(self, client: Client, proxied: GuestMachine, shape: Shape, numbers: range) -> None:
        selector = ",".join(f"{name}={value}" for name, value in LABELS.items())
        text = self.deployment.lab.kubectl("get", "services", f"--selector={selector}", "--output=json").stdout
        clusters = {one["metadata"]["name"]: str(one["spec"]["clusterIP"]) for one in json.loads(text)["items"]}

        def add(number: int, turn: int) -> Edit:
            there = shape.real_servers + 1 + turn // len(numbers)
            body = {"endpoints": endpoints(number, there)}
            arrival = Arrival(clusters[name_of(number)], 80, address_of(number, there - 1), None)
            patch = partial(client.patch, EndpointSlice, name_of(number), body, patch_type=PatchType.MERGE)
            return Edit(arrival, patch)

        with KernelWatch(proxied) as kernel:
            self._edit(kernel, numbers, add, _theirs(shape))

    def _edit(
        self, kernel: KernelWatch, numbers: range, edit_of: Callable[[int, int], Edit], series: str
    ) -> list[float]:
        """Edits at their pace, of services that were not edited at a smaller size; when they were sent."""
        sent: list[float] = []
        began = time.perf_counter()
        for turn in range(self.edits):
            time.sleep(max(began + turn * PACE_SECONDS - time.perf_counter(), 0))  # the pace
            edit = edit_of(numbers[turn % len(numbers)], turn)
            kernel.ask(f"{turn}", edit.arrival)
            sent.append(time.perf_counter())
            edit.carry_out()
        for turn, start in enumerate(sent):
            self._add(series, (kernel.wait(f"{turn}") - start) * 1000)
        print(f"  {series}: {median(self.measured.series[series]):.0f} ms", file=sys.stderr, flush=True)
        return sent

    def _add(self, name: str, value: float) -> None:
        self.measured.series.setdefault(name, []).append(value)


def name_of(number: int) -> str:
    """Of a service and what belongs to it."""
    return f"many-{number}"


def address_of(number: int, member: int) -> str:
    """Of a real server; nobody has it."""
    return str(_FIRST_SERVER + number * _ROOM + member)


def servers(number: int, count: int, *, weight: int = 1) -> list[dict[str, Any]]:
    """So many real servers of a pool, the first with this weight."""
    return [
        {"name": f"rs{member}", "address": address_of(number, member), "weight": 1 if member else weight}
        for member in range(count)
    ]


def endpoints(number: int, count: int) -> list[dict[str, Any]]:
    """The same as endpoints."""
    return [{"addresses": [address_of(number, member)], "conditions": {"ready": True}} for member in range(count)]


def our_objects(numbers: Iterable[int], count: int) -> Iterator[str]:
    """A pool and a service of each number."""
    for number in numbers:
        yield pool_text(name_of(number), *servers(number, count))
        ports = [{"name": "tcp", "port": _FIRST_PORT + number}]
        more = {"forwarding": {"method": "Masquerade"}}
        yield service_text(name_of(number), _VIP, ports=ports, scheduler="wrr", pool=name_of(number), more=more)


def their_objects(numbers: Iterable[int], count: int) -> Iterator[str]:
    """A Service without a selector and its EndpointSlice of each number."""
    for number in numbers:
        metadata = {"name": name_of(number), "labels": LABELS}
        ports = [{"name": "tcp", "port": 80, "protocol": "TCP"}]
        yield json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}) + "\n"
        labels = {"kubernetes.io/service-name": name_of(number), "endpointslice.kubernetes.io/managed-by": "bench"}
        whole = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name_of(number), "labels": labels},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints(number, count),
        }
        yield json.dumps(whole) + "\n"


@contextmanager
def commit_latency(edits: int) -> Iterator[CommitLatency]:
    """The lab for as long as the context lasts."""
    with (
        tempfile.TemporaryDirectory() as directory,
        deployed(f"bench-scale-{os.getpid()}", ["plain"], Path(directory)) as deployment,
    ):
        yield CommitLatency(deployment=deployment, edits=edits)
