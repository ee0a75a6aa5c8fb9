"""Random sequences of everything that happens to users, nodes, programs, the API server and kernels, by seed.

After each happening nothing must have been that must never be: see `simulation.invariants`. At the end all is as users
want, and still. One that fails is made short and printed; `LVS_WORLD_SEED=N` runs that one alone,
`LVS_WORLD_EXAMPLES=5000` so many from 0.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

import lvs_agent.decide.desired_state
import lvs_agent.decide.judged_table
from lvs_agent.agent import Agent
from lvs_agent.converge.receive_ports import PortOutcome
from lvs_agent.decide.changes import DeleteService
from lvs_agent.decide.fresh_word import Standing
from lvs_agent.decide.wanted_sysctls import SysctlRole
from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.watch import Reflector
from lvs_core.node_specs import may_leave
from simulation.happenings import Happening, draw_sequence, run_sequence, silent_logs

EXAMPLES = os.environ.get("LVS_WORLD_EXAMPLES", "40")
SEED = os.environ.get("LVS_WORLD_SEED")
FEW = range(60)
"""Enough for what is wrong always, or often."""


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    with silent_logs():
        yield


def test_nothing_is_lost_and_all_is_well_in_the_end() -> None:
    command = [sys.executable, "-m", "simulation", *(["0", EXAMPLES] if SEED is None else [SEED, "1"])]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing went wrong" in done.stdout


# --- it finds what is wrong --------------------------------------------------------------------------------------


def _all_is_ours(snapshot: Any, wanted: Any, ledger: Any, **asked: Any) -> Any:
    everything = {key: frozenset(state.destinations) for key, state in snapshot.services.items()}
    return judge_ipvs(snapshot, wanted, {**everything, **ledger}, **asked)


def _over_at_once(known: Any, asked: Any, kernel: Any, now: float) -> Any:
    return {key: replace(drain, over=True) for key, drain in step_drains(known, asked, kernel, now).items()}


def _whoever_is_there(_: Any, __: Any, ___: Any, ____: Any, available: Any) -> Any:
    return available[0] if available else None


async def _empty_after_an_error(self: Any) -> str:
    try:
        return await read_list(self)
    except ApiUnavailable:
        self._objects, self.complete = {}, True
        self._connected()
        self._wake()
        return "1000000"


async def _flush_at_the_end(self: Any) -> None:
    try:
        await run_agent(self)
    finally:
        table = self._keepers.table._ipvs
        table.apply([DeleteService(service=key) for key in table.read().services])


def _believed(_: Any, member: Any, *, need: Any, **__: Any) -> Standing:
    return Standing(False, None, member.failed, need)


def _ports_go_at_once(view: Any, memory: Any, directors: Any, need: Any) -> bool:
    return bool(need.port) or may_leave(view, memory, directors, need)


def _open_nothing(_: Any, __: Any) -> PortOutcome:
    return PortOutcome()


judge_ipvs, step_drains = lvs_agent.decide.judged_table.judge_ipvs, lvs_agent.decide.desired_state.step_drains
read_list, run_agent = Reflector._list, Agent.run
REFUSED_ONLY = property(lambda member: member.refused is None and member.draining_seconds is None)
S1_BOOTS = Happening("power_cycle", ("s1", 5.0, 0.1, 20.0, 20.0), 12.0)
CLIENTS = Happening("clients", ("d1", 7), 0.0)
S1_LEAVES = Happening("put_pool", ("one", {"192.168.4.102": (1, "Active")}, True), 3.0)
BY_GUE = Happening("put_service", ("web", "one", "GUE to 6080", "rr"), 15.0)
D1_IS_LATE = Happening("lag", ("d1", 9.0, 2.0), 0.0)
WEB_GOES = Happening("delete_service", ("web",), 3.0)
RARE: dict[str, tuple[Happening, ...]] = {
    "weight without a fresh word": (S1_BOOTS,),
    "a drain is over at once": (CLIENTS, S1_LEAVES),
    "a port is given up before the directors have reported": (BY_GUE, CLIENTS, D1_IS_LATE, WEB_GOES),
    "ports are not opened": (BY_GUE, CLIENTS),
}
"""What chance would take long to come to."""
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "an absence is believed": ({"lvs_agent.decide.absence._judge_owner": lambda *_: None}, "which no user deleted"),
    "an empty list after an error, and an absence that is believed": (
        {
            "lvs_agent.objects.watch.Reflector._list": _empty_after_an_error,
            "lvs_agent.decide.absence._judge_owner": lambda *_: None,
        },
        "no user",
    ),
    "an address is given up before the directors have reported": (
        {"lvs_core.node_specs.may_leave": lambda *_: True},
        "is told to give up",
    ),
    "a port is given up before the directors have reported": (
        {"lvs_core.node_specs.may_leave": _ports_go_at_once},
        "is told to",
    ),
    "ports are not opened": (
        {"lvs_agent.converge.receive_ports.ReceivePortKeeper.converge": _open_nothing},
        "silently",
    ),
    "weight for whoever is not prepared": (
        {"lvs_core.plan.PlannedMember.may_have_weight": REFUSED_ONLY},
        "which its slices do not allow",
    ),
    "weight without a fresh word": ({"lvs_agent.decide.desired_service.step_standing": _believed}, "silently"),
    "the table is flushed at the end": ({"lvs_agent.agent.Agent.run": _flush_at_the_end}, "which its plan has"),
    "everything in the table is ours": (
        {"lvs_agent.decide.judged_table.judge_ipvs": _all_is_ours},
        "which no user deleted",
    ),
    "weights are forgotten with a restart": (
        {"lvs_agent.decide.first_verdicts.weight_in_kernel": lambda *_: 0},
        "takes the weight",
    ),
    "a drain is over at once": ({"lvs_agent.decide.desired_state.step_drains": _over_at_once}, "before its time"),
    "nobody is silenced": ({"lvs_agent.converge.addresses._role": lambda *_: SysctlRole()}, "before it is silent"),
    "who is told to give way has let go at once": (
        {"lvs_core.giving_way._has_let_go": lambda *_: True},
        "has not said that it let go",
    ),
    "another director is made active at once": ({"lvs_core.directors._active": _whoever_is_there}, "is made active"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    planted, told = FAULTS[name]
    with ExitStack() as stack:
        for where, fault in planted.items():
            stack.enter_context(patch(where, fault))
        for seed in FEW:
            wrong = run_sequence(seed, RARE.get(name) or draw_sequence(seed))
            if wrong is not None and told in wrong:
                return
    pytest.fail("nobody saw it")


@pytest.mark.parametrize("name", RARE)
def test_without_the_fault_all_is_well(name: str) -> None:
    assert run_sequence(0, RARE[name]) is None
