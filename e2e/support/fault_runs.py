"""The API server fails in every way for a minute while an operator runs: what each such run does and demands.

Each fault has a control plane, a proxy and an operator of its own. The runs go on in threads side by side, so that
their minutes are one. LVS_FAULT_SECONDS shortens them for a quick look.
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Semaphore
from typing import Final, Self

from lvs_api.kinds import NODE, SERVICE_SLICE
from lvs_lab.waiting import wait_for
from support.fault_proxy import MUTILATING, Fault, FaultProxy
from support.operator_process import OperatorProcess, running_operator
from support.operator_world import World, world

FAULT_SECONDS: Final = float(os.environ.get("LVS_FAULT_SECONDS", "60"))
RECOVERY_SECONDS: Final = 120
FAULTS: Final[tuple[Fault, ...]] = tuple(fault for fault in Fault if fault not in {Fault.NONE, *MUTILATING})
"""Nothing gets through to the operator; where only lists are mutilated, its watches go on, and so does its work."""
AT_ONCE: Final = 2
"""Control planes that come up at the same time: each takes a whole processor meanwhile."""
COMING_UP_SECONDS: Final = 300
REPORT_SECONDS: Final = 1.0
"""Between reports of the stand-ins for agents: six sets of them share two processors."""


class FaultRuns:
    """All runs; those that are not over when the context ends are given up."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._coming_up = Semaphore(AT_ONCE)
        self._come_up: Mapping[Fault, Event] = {fault: Event() for fault in FAULTS}
        self._given_up = Event()
        self._pool = ThreadPoolExecutor(len(FAULTS), thread_name_prefix="fault-run")
        self._runs: Mapping[Fault, Future[None]] = {}

    def __enter__(self) -> Self:
        """Begin, and return when all that takes processor time is done: what follows is mostly waiting."""
        self._runs = {fault: self._pool.submit(self._live_through, fault) for fault in FAULTS}
        for event in self._come_up.values():
            event.wait(COMING_UP_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up.set()
        self._pool.shutdown(cancel_futures=True)

    def result(self, fault: Fault) -> None:
        """Wait for the end of one run. Raises what went wrong in it."""
        self._runs[fault].result()

    def _live_through(self, fault: Fault) -> None:
        directory = self._directory / fault.name.lower()
        with ExitStack() as stack:
            stack.callback(self._come_up[fault].set)  # also when it fails
            with self._coming_up:
                scene = stack.enter_context(world(directory, report_seconds=REPORT_SECONDS))
                proxy = stack.enter_context(FaultProxy(scene.server))
                kubeconfig = scene.server.write_kubeconfig(directory / "proxied.kubeconfig", url=proxy.url)
                operator = stack.enter_context(running_operator(directory, kubeconfig, "--check-seconds=10"))
                kept, _ = scene.create_web("kept", "192.168.4.51")
                doomed, _ = scene.create_web("doomed", "192.168.4.52")
                for service in (kept, doomed):
                    scene.wait_condition(service, "Ready", "True", "Ready")
            self._come_up[fault].set()
            before = scene.generated()
            with proxy.failing(fault):
                # While the operator sees nothing, one service goes and another comes.
                scene.server.delete(doomed).raise_for_status()
                late, _ = scene.create_web("late", "192.168.4.53")
                self._sit_out(scene, operator, before)
            _recover(scene, operator, before)
            scene.wait_condition(late, "Ready", "True", "Ready")
            assert operator.terminate() == 0, operator.log[-3000:]

    def _sit_out(self, scene: World, operator: OperatorProcess, before: object) -> None:
        end = time.monotonic() + FAULT_SECONDS

        def always() -> None:
            assert not self._given_up.is_set(), "given up with the session"
            assert operator.alive, f"the operator ended with {operator.process.returncode}: {operator.log[-3000:]}"
            assert scene.generated() == before, "something was changed or taken away"
            status, said = operator.endpoint("/healthz")
            assert status == 200, f"not healthy: {said}"

        wait_for(lambda: time.monotonic() > end, FAULT_SECONDS + 30, "the fault to be over", interval=2, always=always)


def _recover(scene: World, operator: OperatorProcess, before: Mapping[str, object]) -> None:
    def doomed_is_gone() -> bool:
        return not [one for one in scene.items(SERVICE_SLICE) if one["spec"]["serviceRef"]["name"] == "doomed"]

    wait_for(doomed_is_gone, RECOVERY_SECONDS, "the operator to catch up", interval=0.5)
    wait_for(lambda: operator.leads, RECOVERY_SECONDS, "it to lead", interval=0.5)
    after = scene.generated()
    kept = {name: value for name, value in before.items() if name.startswith("LvsServiceSlice kept")}
    assert kept
    assert kept.items() <= after.items()
    addresses = {address["address"] for item in scene.items(NODE) for address in item["spec"].get("addresses") or ()}
    assert "192.168.4.51" in addresses
