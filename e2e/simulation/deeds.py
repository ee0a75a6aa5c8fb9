"""Everything that happens, each a method with plain arguments, so that a sequence of happenings is data."""

from collections.abc import Mapping
from typing import Final

from lvs_agent.decide.kernel_state import AnyServiceKey, DestinationKey
from lvs_api.api_group import ANNOTATION_HAND_OVER
from simulation.ground import Ground
from simulation.model_api import USERS
from simulation.users import DIRECTOR_LABEL, GROUP, pool, service

NOTICED_SECONDS: Final = 6.0
"""A machine that is off for so long becomes NotReady; 40 s in a cluster."""
_CORDON: Final = "unschedulable"
OUT_OF_SERVICE: Final = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}


class Deeds(Ground):
    """What users, machines, programs, the API server and other hands do."""

    # What users do

    def put_service(self, name: str, pool_name: str, way: str, scheduler: str) -> None:
        """Make or edit a service."""
        self.users.put(service(name, pool=pool_name, way=way, scheduler=scheduler))

    def put_pool(self, name: str, members: Mapping[str, tuple[int, str]], checked: bool) -> None:
        """Make or edit a pool: weight and state by address."""
        self.users.put(pool(name, members, checked=checked))

    def delete_service(self, name: str) -> None:
        """Delete a service."""
        self.users.delete("lvsvirtualservices", name)

    def delete_pool(self, name: str) -> None:
        """Delete a pool, whoever uses it."""
        self.users.delete("lvsrealserverpools", name)

    def delete_namespace(self) -> None:
        """Everything that users made."""
        self.users.delete_namespace()

    def label_director(self, name: str, chosen: bool) -> None:
        """A Node is to be a director, or no longer."""
        if not self.api.up:
            return
        labels = dict(self.api.get("nodes", ("", name))["metadata"].get("labels", {}))
        labels = {label: value for label, value in labels.items() if label not in DIRECTOR_LABEL}
        self.api.replace("user", "nodes", ("", name), "labels", labels | (DIRECTOR_LABEL if chosen else {}))

    def cordon(self, name: str, seconds: float) -> None:
        """A Node is to take no pods for some time, as before a drain."""
        if self.api.up:
            self._set_unschedulable(name, value=True)
            self._for_a_while(f"cordon {name}", seconds, lambda: self._set_unschedulable(name, value=False))

    def _set_unschedulable(self, name: str, *, value: bool) -> None:
        spec = {field: said for field, said in self.api.get("nodes", ("", name))["spec"].items() if field != _CORDON}
        self.api.replace("user", "nodes", ("", name), "spec", spec | ({_CORDON: True} if value else {}))

    def hand_over(self, token: int, name: str | None) -> None:
        """A person asks that another director carry the addresses, or a certain one."""
        if self.api.up and ("", GROUP) in self.api.objects("lvsdirectorgroups"):
            said = f"t{token}" if name is None else f"t{token}/{name}"
            self.api.replace("user", "lvsdirectorgroups", ("", GROUP), "annotations", {ANNOTATION_HAND_OVER: said})

    # What happens to machines

    def power_cycle(self, name: str, off: float, server: float, agent: float, kubelet: float) -> None:
        """Off for some seconds; then its server, its agent and its kubelet, each after some seconds."""
        machine = self.machines[name]
        if not machine.powered or f"power {name}" in self._undo:
            return
        self.agents[name].kill()
        machine.cut_power()
        self._loop.call_later(NOTICED_SECONDS, self._miss_kubelet, name, machine.boot)
        self._for_a_while(f"power {name}", off, lambda: self._boot(name, server, agent, kubelet))

    def _boot(self, name: str, server: float, agent: float, kubelet: float) -> None:
        machine = self.machines[name]
        machine.start()
        machine.serves = False

        def serve() -> None:
            machine.serves = True

        self._for_a_while(f"server {name}", server, serve)
        self._for_a_while(f"agent {name}", agent, lambda: self._start_agent(name))
        self._for_a_while(f"kubelet {name}", kubelet, lambda: self._hear_kubelet(name, ready=True))

    def _miss_kubelet(self, name: str, boot: int) -> None:
        """A machine that was off for so long that it was noticed."""
        if not self.machines[name].powered and self.machines[name].boot == boot:
            self._hear_kubelet(name, ready=False)

    def node_not_ready(self, name: str, seconds: float) -> None:
        """Its kubelet is not heard."""
        self._hear_kubelet(name, ready=False)
        self._for_a_while(f"kubelet {name}", seconds, lambda: self._hear_kubelet(name, ready=True))

    def fence(self, name: str, seconds: float) -> None:
        """A director fails; an administrator sees to it that it is off, and says so.

        It comes back as after a repair, when another has taken over.
        """
        machine = self.machines[name]
        if not machine.powered or f"power {name}" in self._undo:
            return
        self.agents[name].kill()
        machine.cut_power()
        machine.fenced = True
        self.api.replace("user", "nodes", ("", name), "spec", {"taints": [OUT_OF_SERVICE]})

        def repair() -> None:
            group = self.api.objects("lvsdirectorgroups").get(("", GROUP), {})
            if group.get("status", {}).get("active") == name:
                self._for_a_while(f"power {name}", 1.0, repair)
                return
            machine.fenced = False
            self.api.replace("user", "nodes", ("", name), "spec", {})
            self._boot(name, 0.1, 1.0, 1.0)

        self._for_a_while(f"power {name}", seconds, repair)

    def server_fails(self, name: str, seconds: float) -> None:
        """Its server does not answer."""
        machine = self.machines[name]
        machine.serves = False

        def serve() -> None:
            machine.serves = True

        self._for_a_while(f"server {name}", seconds, serve)

    def clients(self, name: str, connections: int) -> None:
        """Connections through a director: some more, or all end."""
        self.machines[name].connect(connections)

    # What happens to programs

    def kill_agent(self, name: str, seconds: float) -> None:
        """SIGKILL; its pod is started again after some time."""
        self.agents[name].kill()
        self._for_a_while(f"agent {name}", seconds, lambda: self._start_agent(name))

    def crash_agent(self, name: str, after: int) -> None:
        """SIGKILL in the middle of the next batch that it writes to the table."""
        self.machines[name].ipvs.crash_after = after

        def again() -> None:
            self.machines[name].ipvs.crash_after = None
            self._start_agent(name)

        self._for_a_while(f"crash {name}", 5.0, again)

    def lose_state(self, name: str, file: str, content: str | None, seconds: float) -> None:
        """An agent's file goes or is damaged while the agent is dead."""
        self.agents[name].kill()
        self.machines[name].lose_state(file, content)
        self._for_a_while(f"agent {name}", seconds, lambda: self._start_agent(name))

    def kill_probes(self, name: str, seconds: float) -> None:
        """Nobody checks."""
        checks = self.agents[name].checks
        checks.dead = True

        def revive() -> None:
            checks.dead = False

        self._for_a_while(f"probes {name}", seconds, revive)

    def kill_operator(self, seconds: float) -> None:
        """SIGKILL; started again after some time."""
        if self.operator is not None:
            self.operator.kill()
        self._for_a_while("operator", seconds, self._start_operator)

    # What happens to the API server and the ways to it

    def api_away(self, seconds: float) -> None:
        """Nobody answers."""
        self.api.up = False
        self.api.stir()

        def back() -> None:
            self.api.up = True

        self._for_a_while("api", seconds, back)

    def cut(self, name: str, seconds: float) -> None:
        """One program can not reach the API server."""
        reach = self.reaches[name]
        reach.cut = True
        self.api.stir()

        def mend() -> None:
            reach.cut = False

        self._for_a_while(f"cut {name}", seconds, mend)

    def silence(self, name: str, seconds: float) -> None:
        """One program's watches bring nothing, without ending."""
        reach = self.reaches[name]
        reach.silent = True

        def speak() -> None:
            reach.silent = False
            reach.reset()  # what came meanwhile is lost with the connection

        self._for_a_while(f"silence {name}", seconds, speak)

    def lag(self, name: str, seconds: float, behind: float) -> None:
        """One program's watches are behind."""
        reach = self.reaches[name]
        reach.lag = behind

        def catch_up() -> None:
            reach.lag = 0.0

        self._for_a_while(f"lag {name}", seconds, catch_up)

    def lose_answers(self, name: str, seconds: float) -> None:
        """One program's writes are made, and it hears nothing."""
        reach = self.reaches[name]
        reach.loses_answers = True

        def answer() -> None:
            reach.loses_answers = False

        self._for_a_while(f"answers {name}", seconds, answer)

    def reset(self, name: str, replay: int) -> None:
        """One program's connections end; what came last comes once more."""
        self.reaches[name].replay = replay
        self.reaches[name].reset()
        self.api.stir()

    def delete_crd(self, plural: str, seconds: float) -> None:
        """A CRD goes, and comes back; then people apply what they had again."""
        if not self.api.serves(plural) or not self.api.up:
            return
        self._generated_went = True
        had = list(self.api.objects(plural).values())
        self.api.terminate_crd(plural)
        removal = self._loop.call_later(0.3, self.api.remove_crd, plural)

        def install() -> None:
            if not self.api.up:
                self._for_a_while(f"crd {plural}", 1.0, install)
                return
            removal.cancel()
            self.api.remove_crd(plural)
            self.api.install_crd(plural)
            for raw in had if plural in USERS else ():
                self.users.put(raw)

        self._for_a_while(f"crd {plural}", seconds, install)

    def delete_generated(self, plural: str, number: int) -> None:
        """Somebody deletes what the operator made."""
        keys = sorted(self.api.objects(plural))
        if keys and self.api.up:
            self._generated_went = True
            self.api.delete("somebody", plural, keys[number % len(keys)])

    def compact(self) -> None:
        """The API server's history is gone."""
        self.api.compact()

    # What other hands do in a kernel

    def clear_table(self, name: str) -> None:
        """`ipvsadm -C`."""
        self.machines[name].clear_table()

    def make_foreign_service(self, name: str) -> None:
        """`ipvsadm -A`."""
        self.machines[name].make_foreign_service()

    def take_address(self, name: str, number: int) -> None:
        """`ip address del` of an address of ours."""
        found = sorted(self.machines[name].bindings(), key=str)
        if found:
            self.machines[name].take_address(found[number % len(found)])

    def set_weight(self, name: str, number: int, weight: int) -> None:
        """`ipvsadm -e`."""
        if (where := self._entry(name, number)) is not None:
            self.invariants.weights_by_others.add((name, *where))
            self.machines[name].set_weight(*where, weight)

    def take_destination(self, name: str, number: int) -> None:
        """`ipvsadm -d`."""
        if (where := self._entry(name, number)) is not None:
            self.machines[name].take_destination(*where)

    def break_silence(self, name: str) -> None:
        """`sysctl -w net.ipv4.conf.all.arp_ignore=0`."""
        self.machines[name].break_silence()

    def _entry(self, name: str, number: int) -> tuple[AnyServiceKey, DestinationKey] | None:
        entries = [
            (service_key, key)
            for service_key, state in sorted(self.machines[name].ipvs.services.items(), key=str)
            if service_key not in self.machines[name].foreign
            for key in sorted(state.destinations, key=str)
        ]
        return entries[number % len(entries)] if entries else None
