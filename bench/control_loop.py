"""The operator with very many services at a real API server: how long it takes, what it takes, what it writes.

Directors are stood in for (`standing_directors`): what is measured is the operator, and the API server with it.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.audit_log import AuditedWrite, AuditLog
from bench.figure import WORST, Figure, Goal, Measured
from bench.large_table import Shape
from bench.many_objects import ManyObjects, create_all, name_of
from bench.seen_by_watch import WeightsSeen
from bench.standing_directors import StandingDirectors
from bench.user_changes import CHANGES
from lvs_api.kinds import REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_lab.waiting import wait_for
from support.api_server import MERGE, object_path
from support.chart_release import AGENT, OPERATOR, account_token
from support.operator_process import NAMESPACE, OperatorProcess, running_operator
from support.operator_world import DIRECTORS, World, world

COLD: Final = "nothing written yet: until every status is right"
AGAIN: Final = "all written before: until a round finds nothing to do"
MEMORY_FULL: Final = "operator: PSS when all was written"
MEMORY: Final = "operator: PSS, started again"
MEMORY_PEAK: Final = "operator: the most that was resident"
REST: Final = "writes in a minute at rest, but of Leases"
LATENCY: Final = "a weight in a pool, seen in the slice"
FLOOR: Final = "floor: the same patch, seen in the pool itself"
EVENTS: Final = "(Events about one service and change)"
PACE_SECONDS: Final = 0.1
"""Between changes: ten a second."""
_PER_CHANGE: Final = 3
_REST_SECONDS: Final = 60.0
_QUIET_SECONDS: Final = 6.0
"""Longer than counts are kept back, and than reports take."""
_DEADLINE: Final = 900.0
_DAY: Final = 86_400.0
Json = dict[str, Any]
_ACCOUNT: Final = f"system:serviceaccount:{NAMESPACE}:{OPERATOR}"


def _writes_after(change: str) -> str:
    return f"writes: {change}"


def figure_of(shape: Shape) -> Figure:
    """What is promised."""
    counts = [_writes_after(name) for name in CHANGES]
    return Figure(
        name="scale",
        title=f"the operator with {shape}, two directors that report each second",
        ways={},
        ours="",
        goals=(
            *(Goal(series=name, percentile=WORST, at_most=4) for name in counts),
            Goal(series=REST, percentile=WORST, at_most=0),
        ),
        units={
            **dict.fromkeys((COLD, AGAIN), "s"),
            **dict.fromkeys((MEMORY_FULL, MEMORY, MEMORY_PEAK), "MiB"),
            **dict.fromkeys((*counts, REST, EVENTS), ""),
        },
    )


@dataclass(kw_only=True)
class ControlLoop:
    """An API server with the objects in it, and what was measured there."""

    scene: World
    audit: AuditLog
    many: ManyObjects
    measured: Measured = field(default_factory=Measured)

    def measure(self, changes: int) -> Measured:
        """All of it; so many weights are changed to see how long that takes."""
        with self._operator("first") as operator:
            with self._noted(COLD):
                self._wait_until_right(operator)
            self._settle()
            self._note(MEMORY_FULL, _kibibytes(operator, "smaps_rollup", "Pss") / 1024)
            print(f"  {self.measured.series}", file=sys.stderr, flush=True)
        with self._operator("second") as operator:
            with self._noted(AGAIN):
                wait_for(lambda: _idle_rounds(operator) > 0, _DEADLINE, "a round with nothing to do", interval=0.1)
            self._settle()
            self._note(MEMORY, _kibibytes(operator, "smaps_rollup", "Pss") / 1024)
            self._time(changes)
            self._settle()
            for name in CHANGES:
                self._count(name)
            self._rest()
            self._note(MEMORY_PEAK, _kibibytes(operator, "status", "VmHWM") / 1024)
        return self.measured

    @contextmanager
    def _operator(self, name: str) -> Iterator[OperatorProcess]:
        """One that gives its Lease back when it ends, so that the next has not to wait for that."""
        directory, kubeconfig = self.scene.directory, self.scene.operator_kubeconfig
        with running_operator(directory, kubeconfig, name=name, wait=False) as operator:
            yield operator
            if operator.terminate():
                raise SystemExit(f"the operator ended badly: {operator.log[-3000:]}")

    def _note(self, name: str, value: float) -> None:
        self.measured.series.setdefault(name, []).append(value)

    def _remark(self, text: str) -> None:
        """To be read at the end, and by who waits for it."""
        self.measured.remarks.append(text)
        print(f"  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self._note(name, took)
        print(f"  {name}: {took:.1f} s", file=sys.stderr, flush=True)

    def _wait_until_right(self, operator: OperatorProcess) -> None:
        """Every service says at the API server that it is Ready, and the operator has nothing to write any more."""
        wanted = self.many.shape.services

        def ready() -> bool:
            there = operator.labelled('lvs_operator_services{reason="Ready",status="True"}')
            assert there == wanted, f"{there:.0f} of {wanted} services are Ready; {_rounds(operator)}"
            return True

        def must_live() -> None:
            if not operator.alive:
                raise SystemExit(f"the operator ended: {operator.log[-3000:]}")

        wait_for(ready, _DEADLINE, "every service to be decided Ready", interval=0.5, always=must_live)
        idle = _idle_rounds(operator)
        wait_for(lambda: _idle_rounds(operator) > idle, _DEADLINE, "the last status to be written", interval=0.1)
        items = self.scene.items(VIRTUAL_SERVICE)
        wrong = [item["metadata"]["name"] for item in items if not _says_ready(item)]
        if wrong or len(items) != wanted or len(self.scene.items(SERVICE_SLICE)) != wanted:
            raise SystemExit(f"{len(items)} services, of which {wrong[:3]} and others are not Ready")

    def _settle(self) -> list[AuditedWrite]:
        """Wait until nobody has written for a while, Events aside, which are paced; what was written until then."""
        written: list[AuditedWrite] = []
        deadline = time.monotonic() + _DEADLINE
        while True:
            news = self._other_writes(_QUIET_SECONDS)
            written += news
            if all(one.resource == "events" for one in news):
                return written
            if time.monotonic() > deadline:
                raise SystemExit(f"writes go on for ever, such as {news[-1]}")

    def _other_writes(self, seconds: float) -> list[AuditedWrite]:
        """What comes in so many seconds, but for Leases."""
        time.sleep(seconds)  # the window that is looked at
        return [one for one in self.audit.news() if one.resource != "leases"]

    def _count(self, change: str) -> None:
        """The operator's writes for each of a few services to which a user did something, until all is quiet again."""
        for number in range(_PER_CHANGE):
            CHANGES[change](self.scene, self.many, number)
        ours = [one for one in self._settle() if one.user == _ACCOUNT]
        writes: Counter[str] = Counter()
        for number in range(_PER_CHANGE):
            own = [one for one in ours if is_of(name_of(number), one.name)]
            writes = Counter(f"{one.verb} {one.resource}" for one in own if one.resource != "events")
            self._note(_writes_after(change), writes.total())
            self._note(EVENTS, sum(one.resource == "events" for one in own))
            ours = [one for one in ours if one not in own]
        said = ", ".join(f"{count} {what}" for what, count in sorted(writes.items()))
        others = Counter(f"{one.verb} {one.resource}" for one in ours)
        beside = ", ".join(f"{count} {what}" for what, count in sorted(others.items()))
        self._remark(f"{change}: {said or 'nothing'}; of no service: {beside or 'nothing'}")

    def _rest(self) -> None:
        ours = [one for one in self._other_writes(_REST_SECONDS) if one.user == _ACCOUNT]
        self._note(REST, len(ours))
        self._remark(f"at rest: {', '.join(f'{one.verb} {one.resource}' for one in ours[:3]) or 'nothing'}")

    def _time(self, changes: int) -> None:
        """Ten changes a second, whether or not the operator keeps up: each in a pool of its own."""
        sent: list[tuple[str, int, float]] = []
        weight, services = 100, self.many.shape.services
        with WeightsSeen(self.scene.server.kubeconfig, "rs0") as seen:
            began = time.perf_counter()
            for turn in range(changes):
                time.sleep(max(began + turn * PACE_SECONDS - time.perf_counter(), 0))  # the pace
                number, value = turn * 7 % services, weight + turn
                pool = self.many.pool(number, weight=value)
                sent.append((name_of(number), value, time.perf_counter()))
                patch = {"spec": {"realServers": pool["spec"]["realServers"]}}
                self.scene.server.request("PATCH", object_path(pool), patch, content_type=MERGE).raise_for_status()
            for name, value, start in sent:
                self._note(LATENCY, (seen.wait(SERVICE_SLICE, name, value) - start) * 1000)
                self._note(FLOOR, (seen.wait(REAL_SERVER_POOL, name, value) - start) * 1000)
        told = {name: [f"{one:.0f}" for one in sorted(self.measured.series[name])] for name in (LATENCY, FLOOR)}
        print(f"  ms: {told}", file=sys.stderr, flush=True)


def _says_ready(item: Json) -> bool:
    conditions = item.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _idle_rounds(operator: OperatorProcess) -> float:
    return operator.labelled('lvs_operator_rounds_total{result="nothing to do"}')


def _rounds(operator: OperatorProcess) -> str:
    return f"{operator.metric('lvs_operator_rounds_total'):.0f} rounds"


def is_of(service: str, name: str) -> bool:
    """Whether an object is a service, its pool, one of its slices, or an Event about any of them."""
    return name == service or name.startswith((f"{service}-", f"{service}."))


def _kibibytes(operator: OperatorProcess, file: str, field_: str) -> int:
    text = Path(f"/proc/{operator.process.pid}/{file}").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field_}:"))


@contextmanager
def control_loop(shape: Shape, directory: Path) -> Iterator[ControlLoop]:
    """The API server with the objects and directors, for as long as the context lasts; no operator yet."""
    audit, many = AuditLog(directory=directory), ManyObjects(shape=shape)
    # The stand-ins of the operator's tests list everything in each round: they stay silent for a day.
    with world(directory, policies=True, report_seconds=_DAY, extra_flags=audit.flags()) as scene:
        create_all(scene.server, list(many.pairs()))
        credentials = {}
        for name in DIRECTORS:
            token = account_token(scene.server, AGENT, bound_to={"kind": "Node", "name": name})
            credentials[name] = scene.server.write_kubeconfig(directory / f"{name}.kubeconfig", token=token)
        with StandingDirectors(credentials):
            yield ControlLoop(scene=scene, audit=audit, many=many)
