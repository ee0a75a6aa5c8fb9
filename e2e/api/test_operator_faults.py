"""The API server fails in every way for a minute: the operator lives on, takes nothing away and recovers by itself.

Each fault has a control plane, a proxy and an operator of its own, so that all minutes pass at once.
LVS_FAULT_SECONDS shortens them for a quick look.
"""

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lvs_api.kinds import NODE, SERVICE_SLICE
from lvs_lab.waiting import wait_for
from support.fault_proxy import Fault, FaultProxy
from support.operator_process import OperatorProcess, running_operator
from support.operator_world import World, world

FAULT_SECONDS = float(os.environ.get("LVS_FAULT_SECONDS", "60"))
RECOVERY_SECONDS = 120
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Fault, Future[None]]]:
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        yield {fault: pool.submit(live_through, fault, tmp_path_factory.mktemp(fault.name.lower())) for fault in FAULTS}


@pytest.mark.timeout(FAULT_SECONDS + 300)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
def test_it_lives_through(runs: Mapping[Fault, Future[None]], fault: Fault) -> None:
    runs[fault].result()


def live_through(fault: Fault, directory: Path) -> None:
    with world(directory) as scene, FaultProxy(scene.server) as proxy:
        kubeconfig = scene.server.write_kubeconfig(directory / "proxied.kubeconfig", url=proxy.url)
        with running_operator(directory, kubeconfig, "--check-seconds=10") as operator:
            kept, _ = scene.create_web("kept", "192.168.4.51")
            doomed, _ = scene.create_web("doomed", "192.168.4.52")
            for service in (kept, doomed):
                scene.wait_condition(service, "Ready", "True", "Ready")
            before = scene.generated()
            with proxy.failing(fault):
                # While the operator sees nothing, one service goes and another comes.
                scene.server.delete(doomed).raise_for_status()
                late, _ = scene.create_web("late", "192.168.4.53")
                sit_out(scene, operator, before)
            recover(scene, operator, before)
            scene.wait_condition(late, "Ready", "True", "Ready")
            assert operator.terminate() == 0, operator.log[-3000:]


def sit_out(scene: World, operator: OperatorProcess, before: object) -> None:
    end = time.monotonic() + FAULT_SECONDS

    def over() -> bool:
        if not operator.alive:
            raise RuntimeError(f"the operator ended with {operator.process.returncode}: {operator.log[-3000:]}")
        if scene.generated() != before:
            raise RuntimeError(f"something was changed or taken away: {scene.generated()}, before: {before}")
        if operator.endpoint("/healthz")[0] != 200:
            raise RuntimeError(f"not healthy: {operator.endpoint('/healthz')[1]}")
        return time.monotonic() > end

    wait_for(over, FAULT_SECONDS + 30, "the fault to be over", interval=1)


def recover(scene: World, operator: OperatorProcess, before: Mapping[str, object]) -> None:
    def doomed_is_gone() -> bool:
        return not [one for one in scene.items(SERVICE_SLICE) if one["spec"]["serviceRef"]["name"] == "doomed"]

    wait_for(doomed_is_gone, RECOVERY_SECONDS, "the operator to catch up", interval=0.5)
    wait_for(lambda: operator.leads, RECOVERY_SECONDS, "it to lead")
    after = scene.generated()
    kept = {name: value for name, value in before.items() if name.startswith("LvsServiceSlice kept")}
    assert kept
    assert kept.items() <= after.items()
    addresses = {address["address"] for item in scene.items(NODE) for address in item["spec"].get("addresses") or ()}
    assert "192.168.4.51" in addresses
