"""The world: two directors, three nodes as real servers, their agents, the operator, the API server, and people.

It begins with a service that runs; then anything of `simulation.deeds` happens, in any order; at the end faults are
taken back, and the world must come to be what users want, say so, and then be still.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from lvs_api import testing
from lvs_api.api_group import ANNOTATION_RELEASE
from simulation.deeds import Deeds
from simulation.likeness import unlike, unlike_but_for_silent_addresses
from simulation.machines import Machine
from simulation.model_api import ModelApi
from simulation.users import DIRECTORS, GROUP, SERVERS

BEGIN_SECONDS: Final = 8.0
CONVERGE_SECONDS: Final = 200.0
"""The longest back-off of anybody is 60 s, twice, and some."""
HELD_SECONDS: Final = 100.0
"""After so long a person looks why something is still there that nobody wants; what was made anew waits for 60 s."""
REST_SECONDS: Final = 15.0


class World(Deeds):
    """One example."""

    async def begin(self) -> None:
        """A service on two real servers, as a cluster that has run for a while has it."""
        self.users.put(testing.director_group(GROUP))
        for name in self.machines:
            self._start_agent(name)
        self._start_operator()
        self.put_pool("one", {SERVERS["s1"]: (1, "Active"), SERVERS["s2"]: (2, "Active")}, checked=True)
        self.put_service("web", "one", "DirectRouting", "wrr")
        await self.wait(BEGIN_SECONDS)

    async def wait(self, seconds: float) -> None:
        """Time passes; nothing that must not be has been."""
        await asyncio.sleep(seconds)
        self.look()

    def look(self) -> None:
        """Raises AssertionError with what must not have been."""
        self.invariants.look_around()
        found = [*self.failures, *self.invariants.violations]
        assert not found, "; ".join(found)

    async def end(self) -> None:
        """Faults are taken back; the world comes to be as users want, says so, and is still.

        Where slices came and went without a director's seeing them, VIPs may stay on real servers, silently, until
        slices change again (see docs/explanation/hand-shakes.md); so they change once more, and then all must be right.
        """
        self.heal()
        await self._come_to_rest(unlike_but_for_silent_addresses)
        self.put_pool("one", {SERVERS["s1"]: (1, "Active"), SERVERS["s3"]: (3, "Active")}, checked=True)
        self.put_service("app", "one", "DirectRouting", "rr")
        await self._come_to_rest(unlike)

    async def _come_to_rest(self, differences: Callable[[ModelApi, Mapping[str, Machine]], list[str]]) -> None:
        until, missing = self._loop.time() + CONVERGE_SECONDS, differences(self.api, self.machines)
        quiet_since, seen = self._loop.time(), self._writes()
        while missing or self._loop.time() - quiet_since < REST_SECONDS:
            await self.wait(1.0)
            missing = differences(self.api, self.machines)
            if missing or self._writes() != seen:
                quiet_since, seen = self._loop.time(), self._writes()
            if missing and self._loop.time() > until - CONVERGE_SECONDS + HELD_SECONDS:
                self._let_go_what_is_held()
            if self._loop.time() > until:
                raise AssertionError("; ".join(missing) or "it is as wanted, and is written on and on")

    def _let_go_what_is_held(self) -> None:
        """A person has looked at what went with a CRD, or by hand: `kubectl lvs release`.

        Where the LvsNode itself went, and nobody needs it any more, there is nothing to release: `lvs-agent cleanup`.
        """
        if not self._generated_went:
            return
        for (_, name), raw in list(self.api.objects("lvsnodes").items()):
            token = raw.get("status", {}).get("releaseToken")
            if token:
                self.invariants.released.add(name)
                self.api.replace("user", "lvsnodes", ("", name), "annotations", {ANNOTATION_RELEASE: token})
        for name, machine in self.machines.items():
            if ("", name) not in self.api.objects("lvsnodes") and machine.bindings():
                self.agents[name].kill()
                machine.clean_up()
                self._start_agent(name)

    def stop(self) -> None:
        """End every program."""
        for program in (*self.agents.values(), self.operator):
            if program is not None:
                program.kill()

    def _writes(self) -> tuple[int, ...]:
        kernels = (
            machine.ipvs.writes + machine.links.writes + machine.sysctls.writes + machine.host_routes.writes
            for machine in self.machines.values()
        )
        return (self.api.writes, self.api.events, *kernels)

    def heal(self) -> None:
        """No fault is left, and everything that users' objects name is there."""
        self.api.up = True
        self._take_everything_back()
        for name, machine in self.machines.items():
            machine.serves = True
            machine.connect(0)
            if machine.lost_ledger and machine.powered:
                # What it made before that is nobody's, and a person's to remove.
                self.power_cycle(name, 0.0, 0.1, 0.1, 0.2)
        for name in DIRECTORS:
            self.label_director(name, chosen=True)
        self._take_everything_back()
        self._make_missing_pools()

    def _take_everything_back(self) -> None:
        for what in list(self._undo):
            if what in self._undo:
                self._take_back(what)

    def _make_missing_pools(self) -> None:
        for key, raw in self.api.objects("lvsvirtualservices").items():
            named = raw["spec"]["realServerPoolRef"]["name"]
            if (key[0], named) not in self.api.objects("lvsrealserverpools"):
                self.put_pool(named, {SERVERS["s1"]: (1, "Active")}, checked=False)
