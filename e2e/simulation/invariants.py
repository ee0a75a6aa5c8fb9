"""What must never be, looked at with every write of the programs: to a kernel before it is made, to the API after."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from lvs_agent.decide.changes import (
    AddDestination,
    BindAddress,
    DeleteDestination,
    DeleteService,
    EditDestination,
    IpvsChange,
    LinkChange,
)
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    IPAddress,
    ReceivePort,
    ServiceKey,
)
from lvs_agent.decide.kernel_words import destination_key, service_key
from lvs_api.real_server_pool import OnFailure
from lvs_core.plan import Holding, NodePlan, PlannedMember, PlannedService
from simulation.history import History
from simulation.machines import ETH, Machine
from simulation.model_api import USERS, ModelApi, Raw
from simulation.programs import AgentProgram
from simulation.users import DEVICES, DRAIN_SECONDS, staying

NEWS_SECONDS: Final = 5.0
"""Between the word that a node is prepared, or the loss of what that rested on, and what a director makes of it."""
SLACK_SECONDS: Final = 0.5


class Invariants:
    """Owner of the violations found."""

    def __init__(
        self,
        api: ModelApi,
        clock: Callable[[], float],
        agents: Mapping[str, AgentProgram],
        machines: Mapping[str, Machine],
    ) -> None:
        self._api = api
        self._clock = clock
        self._agents = agents
        self._machines = machines
        self.violations: list[str] = []
        self._history = History(api)
        self.released: set[str] = set()
        """Nodes whose held removals a person let go."""
        self.weights_by_others: set[tuple[str, AnyServiceKey, DestinationKey]] = set()
        api.witnesses.append(self._witness)

    def _say(self, what: str) -> None:
        self.violations.append(f"{self._clock():.2f}: {what}")

    # Writes to the API

    def _witness(self, author: str, plural: str, old: Raw | None, new: Raw | None) -> None:
        if author in {"operator", "agent"} and plural in USERS:
            self._users_objects_are_the_users(author, plural, old, new)
        if author == "operator":
            self._look_at_operator(plural, old, new)

    def _users_objects_are_the_users(self, author: str, plural: str, old: Raw | None, new: Raw | None) -> None:
        def users_part(raw: Raw | None) -> Any:  # noqa: ANN401 (JSON)
            kept = {name: value for name, value in (raw or {}).get("metadata", {}).items() if name != "resourceVersion"}
            return raw and (kept, raw.get("spec"))

        if users_part(old) != users_part(new):
            self._say(f"the {author} wrote more than the status of {plural} {(new or old or {})['metadata']['name']}")

    def _look_at_operator(self, plural: str, old: Raw | None, new: Raw | None) -> None:
        if plural == "lvsserviceslices":
            self._look_at_slice(old, new)
        elif plural == "lvsnodes" and old is not None:
            self._look_at_node_spec(old, new)
        elif plural == "lvsdirectorgroups" and old is not None and new is not None:
            self._look_at_active(old, new)

    def _look_at_slice(self, old: Raw | None, new: Raw | None) -> None:
        if new is None:
            assert old is not None
            owner, key = old["spec"]["serviceRef"], (old["metadata"]["namespace"], old["spec"]["serviceRef"]["name"])
            namesake = self._api.objects("lvsvirtualservices").get(key)
            was_made_anew = namesake is not None and namesake["metadata"]["uid"] != owner["uid"]
            if owner["uid"] not in self._history.deleted and not was_made_anew:
                self._say(f"the operator deleted slice {old['metadata']['name']} of a service that nobody deleted")
            return
        spec, namespace = new["spec"], new["metadata"]["namespace"]
        name, accepted, of_pool = spec["serviceRef"]["name"], spec["service"], spec["pool"]
        service = self._history.specs.get(("lvsvirtualservices", (namespace, name), accepted["generation"]))
        pool = self._history.specs.get(("lvsrealserverpools", (namespace, of_pool["name"]), of_pool["generation"]))
        if service is None or pool is None:
            self._say(f"a slice of {name} tells of a generation that no user wrote")
            return
        if (accepted["addresses"], of_pool["name"]) != (service["addresses"], service["realServerPoolRef"]["name"]):
            self._say(f"a slice of {name} has other addresses or another pool than its generation")
        members = {one["name"]: one for one in spec.get("members") or ()}
        for server in staying(pool):
            member = members.get(server["name"])
            if member is None or "draining" in member or member["address"] != server["address"]:
                self._say(f"a slice of {name} lacks or drains {server['name']}, which its pool names")
            elif member["weight"] != server.get("weight", 1):
                self._say(f"a slice of {name} gives {server['name']} another weight than its pool")
        self._look_at_preparation(old, spec)

    def _look_at_preparation(self, old: Raw | None, spec: Raw) -> None:
        before = {one["name"]: one for one in (old or {}).get("spec", {}).get("members") or ()}
        for member in spec.get("members") or ():
            method = member["forwarding"]["method"]
            was = before.get(member["name"], {})
            said = (member.get("bootId"), member["prepared"], method)
            if not member["prepared"] or method == "Masquerade" or "node" not in member:
                continue
            if said == (was.get("bootId"), was.get("prepared"), was.get("forwarding", {}).get("method")):
                continue
            device = "lo" if method == "DirectRouting" else "tunl0"
            for address in spec["service"]["addresses"]:
                if (member["node"], member.get("bootId"), address, device) not in self._history.bound_reports:
                    self._say(f"{member['name']} is called prepared, and {member['node']} never said so of {address}")

    def _look_at_node_spec(self, old: Raw, new: Raw | None) -> None:
        name = old["metadata"]["name"]
        ports = {
            (one["address"], one["device"]): set(one.get("guePorts") or ())
            for one in ((new or {}).get("spec") or {}).get("addresses") or ()
        }
        for one in (old["spec"].get("addresses") or ()) if ("", name) in self._api.objects("nodes") else ():
            if (one["address"], one["device"]) not in ports:
                for director in self._who_forwards(self._machines[name], one["address"], one["device"]):
                    self._say(f"{name} is told to give up {one['address']}, and {director} has an entry for it")
            for port in set(one.get("guePorts") or ()) - ports.get((one["address"], one["device"]), set()):
                for director in self._who_forwards(self._machines[name], one["address"], one["device"], port):
                    self._say(f"{name} is told to close port {port}, and {director} has an entry for it")
        groups = set(((new or {}).get("spec") or {}).get("directorGroups") or ())
        if set(old["spec"].get("directorGroups") or ()) - groups and name not in self._history.unselected:
            self._say(f"{name} is told that it is no director, and no user said so")

    def _look_at_active(self, old: Raw, new: Raw) -> None:
        before, after = old.get("status", {}).get("active"), new["status"].get("active")
        node = self._api.objects("nodes").get(("", before or ""))
        if before is None or after in {None, before} or node is None or node["spec"].get("taints"):
            return
        if self._vips_of(self._machines[before]):
            self._say(f"{after} is made active while {before} carries addresses")
        report = self._api.objects("lvsnodes").get(("", before), {}).get("status", {})
        if any(one.get("holdsAddresses") for one in report.get("directorGroups") or ()):
            self._say(f"{after} is made active while {before} has not said that it let go")

    def _who_forwards(self, node: Machine, address: str | None, device: str, port: int | None = None) -> list[str]:
        """Directors in whose kernel is an entry by which packets for the address, or any, may go to the node.

        Where a port is named, those that it wraps for that port.

        What one without its ledger finds and does not want is nobody's: it stays until a person removes it.
        """
        return [
            machine.name
            for machine in self._machines.values()
            if machine.powered
            and not machine.fenced
            and not machine.lost_ledger
            and not self._is_forgotten(machine.name)
            for service, state in machine.ipvs.services.items()
            if isinstance(service, ServiceKey) and address in {None, str(service.address)}
            for key, found in state.destinations.items()
            if str(key.address) == node.address
            and DEVICES.get(found.settings.method) == device
            and port in {None, found.settings.tunnel.port}
            and (found.settings.weight or found.connections)
        ]

    def _is_forgotten(self, name: str) -> bool:
        """Whether nobody can know that it was a director: it is none any more, and its LvsNode went before it said so.

        It holds what it has until a person lets go, and says so where there is a LvsNode to say it on.
        """
        return name in self._history.nodes_went and name in self._history.unselected

    @staticmethod
    def _vips_of(machine: Machine) -> set[AddressBinding]:
        return {one for one in machine.bindings() if one.device == ETH} if machine.powered else set()

    # Writes to a kernel

    def ipvs(self, machine: Machine, change: IpvsChange) -> None:
        """A change of the table."""
        plan = self._plan_of(machine)
        if plan is None:
            self._say(f"{machine.name} writes to its table without a plan")
            return
        planned = _service_of(plan, change.service)
        if isinstance(change, DeleteService):
            self._look_at_lost_service(machine, plan, change, planned)
        elif isinstance(change, DeleteDestination):
            self._look_at_lost_destination(machine, plan, change, planned)
        elif isinstance(change, AddDestination | EditDestination):
            self._look_at_weight(machine, change.service, change.destination, change.settings, planned)

    def _plan_of(self, machine: Machine) -> NodePlan | None:
        return self._agents[machine.name].source.given

    def _is_over(self, machine: Machine, plan: NodePlan, service: AnyServiceKey) -> bool:
        """Whether users deleted the service that the agent was told of last, or the node is told to be no director.

        An agent that has lost its last view, and of which the slices went meanwhile, takes them for deleted.
        """
        owner = machine.planned.get(service)
        if (
            owner in self._history.deleted
            or machine.name in self.released
            or (machine.lost_view and owner in self._history.went)
        ):
            return True
        spec = self._history.specs.get(("lvsnodes", ("", machine.name), plan.observed_generation or 0))
        return not plan.directing and spec is not None and not spec.get("directorGroups")

    def _look_at_lost_service(
        self, machine: Machine, plan: NodePlan, change: DeleteService, planned: PlannedService | None
    ) -> None:
        if planned is not None:
            self._say(f"{machine.name} removes {change.service}, which its plan has")
        elif not self._is_over(machine, plan, change.service):
            self._say(f"{machine.name} removes {change.service}, which no user deleted")

    def _look_at_lost_destination(
        self, machine: Machine, plan: NodePlan, change: DeleteDestination, planned: PlannedService | None
    ) -> None:
        where = f"{change.destination} of {change.service} from {machine.name}"
        if planned is None:
            if not self._is_over(machine, plan, change.service):
                self._say(f"{where} is removed with its service, which no user deleted")
            return
        member = _member_of(planned, change.destination)
        if member is not None and member.refused is None:
            if planned.on_failure is OnFailure.ZERO_WEIGHT:
                self._say(f"{where} is removed, though its slices name it")
            return
        asked_for = (planned.service_uid, str(change.destination.address)) in self._history.unwanted
        if not asked_for and machine.name not in self.released:
            self._say(f"{where} is removed, and no user asked for it")
        found = machine.destination(change.service, change.destination)
        touched = (machine.name, change.service, change.destination) in self.weights_by_others
        if found is None or touched or str(change.destination.address) in self._history.disabled:
            return
        since = machine.ipvs.zero_since.get((change.service, change.destination))
        drained = since is not None and self._clock() - since >= DRAIN_SECONDS - SLACK_SECONDS
        if found.settings.weight:
            self._say(f"{where} is removed with weight {found.settings.weight}")
        elif found.connections and not drained:
            self._say(f"{where} is removed with connections, before its time was up")

    def _look_at_weight(
        self,
        machine: Machine,
        service: AnyServiceKey,
        destination: DestinationKey,
        settings: DestinationSettings,
        planned: PlannedService | None,
    ) -> None:
        found = machine.destination(service, destination)
        before = found.settings.weight if found else 0
        if before and not settings.weight:
            self._look_at_weight_taken(machine, service, destination, planned)
        elif settings.weight and not before:
            self._look_at_weight_given(machine, service, destination, settings, planned)

    def _look_at_weight_taken(
        self, machine: Machine, service: AnyServiceKey, destination: DestinationKey, planned: PlannedService | None
    ) -> None:
        member = _member_of(planned, destination) if planned else None
        if member is None or not _may_have_weight(member) or not member.weight:
            return
        if (machine.name, service, destination) in self.weights_by_others:
            return
        # One that failed while its weight was not the agent's to take (its ledger was lost) is doubted from then on.
        failures = self._agents[machine.name].checks.failed_at.items()
        failed_at = max(
            (when for check, when in failures if check.address == str(destination.address)), default=float("-inf")
        )
        if failed_at < machine.ipvs.weight_since.get((service, destination), float("-inf")):
            self._say(f"{machine.name} takes the weight of {destination} in {service}, and no check failed")

    def _look_at_weight_given(
        self,
        machine: Machine,
        service: AnyServiceKey,
        destination: DestinationKey,
        settings: DestinationSettings,
        planned: PlannedService | None,
    ) -> None:
        where = f"{machine.name} gives weight to {destination} in {service}"
        member = _member_of(planned, destination) if planned else None
        if member is None or not _may_have_weight(member):
            self._say(f"{where}, which its slices do not allow")
            return
        device = DEVICES.get(settings.method)
        node = next((one for one in self._machines.values() if one.address == str(destination.address)), None)
        if device is None or node is None or member.node is None or not isinstance(service, ServiceKey):
            return
        if (node.name, member.boot_id, str(service.address), device) not in self._history.bound_reports:
            self._say(f"{where}, and {node.name} never said that it is prepared")
        elif not (
            self._is_prepared(node, str(service.address), device, settings.tunnel.port)
            or self._could_not_know(node, service)
        ):
            self._say(f"{where}, and {node.name} has not the address, silently, as is known by now")

    @staticmethod
    def _is_prepared(node: Machine, address: str, device: str, port: int) -> bool:
        is_open = not port or port in node.gue_ports
        return node.powered and node.carries(address, device) and node.is_silent and is_open

    def _could_not_know(self, node: Machine, service: ServiceKey) -> bool:
        """What was prepared a moment ago may be so no more: power goes, other hands take an address away."""
        taken = [when for binding, when in node.taken_by_others.items() if binding.address == service.address]
        return self._clock() - max([node.went_off, node.silence_broken, *taken]) < NEWS_SECONDS

    def link(self, machine: Machine, change: LinkChange) -> None:
        """An address bound or unbound."""
        plan, binding = self._plan_of(machine), change.binding
        if plan is None:
            self._say(f"{machine.name} writes addresses without a plan")
        elif isinstance(change, BindAddress):
            self._look_at_bound(machine, binding)
        elif binding.device == ETH:
            self._look_at_vip_let_go(machine, plan, binding)
        else:
            for director in self._who_forwards(machine, str(binding.address), binding.device):
                self._say(f"{machine.name} unbinds {binding.address}, and {director} has an entry for it")

    def port_closed(self, machine: Machine, port: ReceivePort) -> None:
        """A port for GUE is closed."""
        for director in self._who_forwards(machine, None, "tunl0", port.port):
            self._say(f"{machine.name} closes {port}, and {director} has an entry for it")

    def _look_at_bound(self, machine: Machine, binding: AddressBinding) -> None:
        if binding.device != ETH:
            if not machine.is_silent:
                self._say(f"{machine.name} binds {binding.address} before it is silent")
            return
        for other in self._machines.values():
            if other is not machine and binding in self._vips_of(other):
                self._say(f"{machine.name} binds {binding.address}, which {other.name} carries")

    def _look_at_vip_let_go(self, machine: Machine, plan: NodePlan, binding: AddressBinding) -> None:
        services = [key for key in machine.planned if isinstance(key, ServiceKey) and key.address == binding.address]
        for director in plan.directing:
            if binding.address in director.addresses:
                if director.holding is not Holding.RELEASE:
                    self._say(f"{machine.name} lets go of {binding.address}, which it is to hold")
                return
        if not all(self._is_over(machine, plan, key) for key in services):
            self._say(f"{machine.name} lets go of {binding.address}, and no user asked for it")

    def announced(self, machine: Machine, device: str, address: IPAddress) -> None:
        """Neighbours are told."""
        if not machine.powered or not machine.carries(str(address), device):
            self._say(f"{machine.name} announces {address}, which it does not have on {device}")

    # At any moment

    def look_around(self) -> None:
        """At most one director carries an address."""
        carriers: dict[AddressBinding, list[str]] = {}
        for machine in self._machines.values():
            for binding in self._vips_of(machine):
                carriers.setdefault(binding, []).append(machine.name)
        for binding, names in carriers.items():
            if len(names) > 1:
                self._say(f"{binding.address} is carried by {' and '.join(sorted(names))}")


def _may_have_weight(member: PlannedMember) -> bool:
    """Whether the slices allow it; said here once more, for the agent's own word is what is looked at."""
    return member.prepared and member.refused is None and member.draining_seconds is None


def _service_of(plan: NodePlan, key: AnyServiceKey) -> PlannedService | None:
    return next((planned for planned in plan.services() if service_key(planned.key) == key), None)


def _member_of(planned: PlannedService, key: DestinationKey) -> PlannedMember | None:
    return next((member for member in planned.members if destination_key(member) == key), None)
