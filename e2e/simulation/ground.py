"""The ground that the world stands on: machines, programs, the API server, what they hear of one another, and time."""

import asyncio
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from random import Random

from lvs_agent.decide.health_verdict import Check
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.node_word import NodeWord
from lvs_api.conditions import timestamp
from simulation.invariants import Invariants
from simulation.machines import Machine
from simulation.model_api import ModelApi, Raw
from simulation.programs import AgentProgram, OperatorProgram
from simulation.users import DIRECTOR_LABEL, DIRECTORS, MEMBERS, SERVERS, Users
from simulation.virtual_time import VirtualDatetime, VirtualLoop
from simulation.wire import Reach, Wire


class Ground:
    """Owner of everything."""

    def __init__(self, loop: VirtualLoop, directory: Path, rng: Random) -> None:
        self._loop = loop
        self._rng = rng
        self._calendar = VirtualDatetime(loop)
        self._undo: dict[str, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}
        self._generated_went = False
        """Objects that the operator made were deleted by others, so that agents hold what was in them."""
        self.failures: list[str] = []
        self.api = ModelApi(self._stamp)
        self.users = Users(self.api)
        self.agents: dict[str, AgentProgram] = {}
        self.machines: dict[str, Machine] = {}
        self.invariants = Invariants(self.api, loop.time, self.agents, self.machines)
        self.reaches = {name: Reach() for name in ("operator", *DIRECTORS, *SERVERS)}
        self.operator: OperatorProgram | None = None
        self.api.witnesses.append(self._collect_garbage)
        for name, address in {**DIRECTORS, **SERVERS}.items():
            disk = directory / name
            disk.mkdir()
            self.machines[name] = Machine(
                name,
                address,
                disk=disk,
                watcher=self.invariants,
                clock=loop.time,
                neighbours=[one for one in (*DIRECTORS.values(), *MEMBERS) if one != address],
            )
            self._make_node(name, address)

    def _stamp(self) -> str:
        return timestamp(self._calendar.now(UTC))

    def _make_node(self, name: str, address: str) -> None:
        labels = dict(DIRECTOR_LABEL) if name in DIRECTORS else {}
        raw = {"apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "spec": {}}
        self.api.create(
            "kubelet", "nodes", {**raw, "status": self._node_status(address, ready=True, boot=f"{name}-boot-1")}
        )

    @staticmethod
    def _node_status(address: str, *, ready: bool, boot: str) -> Raw:
        return {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
            "nodeInfo": {"bootID": boot},
        }

    def _hear_kubelet(self, name: str, *, ready: bool) -> None:
        """What its Node says, as soon as the API server can hear it."""
        self.machines[name].ready = ready
        self._write_node(name)

    def _write_node(self, name: str) -> None:
        if not self.api.up:
            self._loop.call_later(1.0, self._write_node, name)
            return
        machine = self.machines[name]
        boot = machine.boot_id if machine.ready else self.api.get("nodes", ("", name))["status"]["nodeInfo"]["bootID"]
        status = self._node_status(machine.address, ready=machine.ready, boot=boot)
        self.api.replace("kubelet", "nodes", ("", name), "status", status)

    # Programs, and faults that end

    def _start_agent(self, name: str) -> None:
        machine = self.machines[name]
        present = self.agents.get(name)
        if not machine.powered or (present is not None and present.alive and present.boot == machine.boot):
            return
        self.agents[name] = AgentProgram(
            machine, Wire(self.api, self.reaches[name], self._rng), network=self, failures=self.failures
        )

    def _start_operator(self) -> None:
        if self.operator is None or not self.operator.alive:
            self.operator = OperatorProgram(self.api, self.reaches["operator"], self._rng, self.failures)

    def _for_a_while(self, what: str, seconds: float, undo: Callable[[], None]) -> None:
        """Take a fault back after some time; the same again begins anew."""
        if what in self._undo:
            self._undo.pop(what)[0].cancel()
        self._undo[what] = (self._loop.call_later(seconds, self._take_back, what), undo)

    def _take_back(self, what: str) -> None:
        handle, undo = self._undo.pop(what)
        handle.cancel()
        undo()

    # What machines hear of one another

    def answers(self, director: Machine, check: Check) -> bool:
        """Whether a real server answers a check, which goes to its own address."""
        assert director.powered
        server = self._machine_at(check.address)
        return server is None or (server.powered and server.serves)

    def word(self, address: IPAddress) -> NodeWord | None:
        """What the agent at an address says of its node; None where nobody answers."""
        server = self._machine_at(str(address))
        return self.agents[server.name].word() if server is not None and server.powered else None

    def holders(self, asker: Machine, address: IPAddress) -> frozenset[bytes]:
        """Who on the link answers for an address."""
        others = (one for one in self.machines.values() if one is not asker and one.powered)
        return frozenset(one.mac for one in others if one.answers_for(address))

    def _machine_at(self, address: str) -> Machine | None:
        return next((one for one in self.machines.values() if one.address == address), None)

    # The garbage collector

    def _collect_garbage(self, _: str, plural: str, __: Raw | None, new: Raw | None) -> None:
        """A service is gone: its slices go, some time later, when the API server is there."""
        if plural == "lvsvirtualservices" and new is None:
            self._loop.call_later(self._rng.uniform(0.05, 2.0), self._collect)

    def _collect(self) -> None:
        if not self.api.up or not self.api.serves("lvsserviceslices"):
            self._loop.call_later(1.0, self._collect)
            return
        for key in list(self.api.owned_by_nobody()):
            self.api.delete("garbage collector", "lvsserviceslices", key)
