"""A cluster for tests of the core: it keeps what `decide` says, and its nodes act on it late, or not at all.

Directors see the slices through a watch: every write is one event, and a director is at some event. What it has in its
kernel stays until it acts on a later one, and what it reported last may be older still.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from simulated_machine import Machine, Slices, is_of_present_method

from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import MAX_DRAINED_MEMBERS, DirectorReport, DrainedMembers, LvsNodeStatus, ServiceException
from lvs_api.objects import ObjectMeta
from lvs_core.cluster_view import (
    AddressPool,
    AgentSigns,
    ClusterNode,
    ClusterView,
    DirectorGroup,
    LvsNode,
    Member,
    Namespace,
    ObjectKey,
    Pool,
    Slice,
    SliceContent,
    VirtualService,
    key_of,
    make_view,
)
from lvs_core.decide import decide
from lvs_core.decision import Decision
from lvs_core.digest import slices_digest
from lvs_core.endpoints import CoreService, EndpointSlice
from lvs_core.findings import Findings
from lvs_core.memory import Memory
from lvs_core.needs import Need, slices_needs, told_needs

NOW = "2025-06-01T00:00:00Z"


class SimulatedCluster:
    """Objects by name; `round` lets the operator decide and writes what it says."""

    def __init__(self) -> None:
        self.services: dict[ObjectKey, VirtualService] = {}
        self.pools: dict[ObjectKey, Pool] = {}
        self.groups: dict[str, DirectorGroup] = {}
        self.address_pools: dict[str, AddressPool] = {}
        self.address_pools_known = True
        self.address_pools_required = False
        self.unlisted: dict[str, list[str]] = {}
        """Addresses that machines call their own, and that their Nodes do not have."""
        self.namespaces: dict[str, Namespace] = {}
        self.nodes: dict[str, ClusterNode] = {}
        self.lvs_nodes: dict[str, LvsNode] = {}
        self.slices: dict[ObjectKey, Slice] = {}
        self.core_services: list[CoreService] = []
        self.endpoint_slices: list[EndpointSlice] = []
        self.events: list[Slices] = [{}]
        self.machines: dict[str, Machine] = {}
        self.memory = Memory()
        self.now = NOW
        self.late: set[str] = set()
        self.silent: set[str] = set()
        self.unheard: set[str] = set()
        self.heard: set[str] = set()
        """Nodes by what the agents' Leases say."""
        self._uids = count(1)

    def meta(self, name: str, namespace: str | None = "default") -> ObjectMeta:
        """Metadata of a new object."""
        uid = next(self._uids)
        return ObjectMeta(
            name=name,
            namespace=namespace,
            uid=f"uid-{uid:04}",
            generation=1,
            creation_timestamp=f"2025-01-01T{uid // 3600:02}:{uid // 60 % 60:02}:{uid % 60:02}Z",
        )

    def add_node(self, node: ClusterNode) -> None:
        self.nodes[node.name] = node
        self.machines.setdefault(node.name, Machine(name=node.name))

    def put(self, one: VirtualService | Pool | DirectorGroup | AddressPool) -> None:
        """Create an object, or edit its spec."""
        # Three shelves of different types, taken as one: the key's type follows from the shelf, which mypy cannot see.
        shelf: dict[Any, Any] = self.pools
        key: str | ObjectKey = key_of(one.meta)
        if isinstance(one, DirectorGroup):
            shelf, key = self.groups, one.meta.name
        elif isinstance(one, AddressPool):
            shelf, key = self.address_pools, one.meta.name
        elif isinstance(one, VirtualService):
            shelf = self.services
        old = shelf.get(key)
        if old is not None:
            meta = replace(old.meta, generation=old.meta.generation + 1)
            one = replace(one, meta=meta, status=old.status)
        shelf[key] = one

    def delete_service(self, key: ObjectKey, *, collect: bool = True) -> None:
        """Delete a service; the garbage collector takes its slices, one by one."""
        del self.services[key]
        if collect:
            for where in [where for where, one in self.slices.items() if one.service_key == key]:
                self._write_slice(where, None)

    def view(self) -> ClusterView:
        return make_view(
            services=self.services.values(),
            pools=self.pools.values(),
            groups=self.groups.values(),
            nodes=self.nodes.values(),
            lvs_nodes=self.lvs_nodes.values(),
            slices=self.slices.values(),
            address_pools=self.address_pools.values(),
            address_pools_known=self.address_pools_known,
            address_pools_required=self.address_pools_required,
            namespaces=self.namespaces.values(),
            core_services=self.core_services,
            endpoint_slices=self.endpoint_slices,
            signs=AgentSigns(
                late=frozenset(self.late | self.silent),
                silent=frozenset(self.silent),
                unheard=frozenset(self.unheard),
                heard=frozenset(self.heard - self.late - self.silent - self.unheard),
            ),
        )

    def round(self) -> Decision:
        """One round of the operator; everything is written."""
        view = self.view()
        decision = decide(view, self.memory, self.now)
        # What was found before only saves work.
        assert decide(view, replace(self.memory, findings=Findings()), self.now) == decision
        self.memory = decision.memory
        for where in decision.delete_slices:
            self._write_slice(where, None)
        for where, content in decision.slices.items():
            self._write_slice(where, content)
        for name in decision.delete_lvs_nodes:
            del self.lvs_nodes[name]
        for name, spec in decision.lvs_nodes.items():
            old = self.lvs_nodes.get(name)
            if old is None:
                self.lvs_nodes[name] = LvsNode(meta=self.meta(name, None), spec=spec)
            elif old.spec != spec:
                meta = replace(old.meta, generation=old.meta.generation + 1)
                self.lvs_nodes[name] = replace(old, meta=meta, spec=spec)
        self._write_statuses(decision)
        return decision

    def _write_statuses(self, decision: Decision) -> None:
        for key, service_status in decision.services.items():
            self.services[key] = replace(self.services[key], status=service_status)
        for key, pool_status in decision.pools.items():
            self.pools[key] = replace(self.pools[key], status=pool_status)
        for name, address_pool_status in decision.address_pools.items():
            self.address_pools[name] = replace(self.address_pools[name], status=address_pool_status)
        for name, group_status in decision.groups.items():
            self.groups[name] = replace(self.groups[name], status=group_status)

    def _write_slice(self, where: ObjectKey, content: SliceContent | None) -> None:
        old = self.slices.get(where)
        if content is None:
            del self.slices[where]
        elif old is None:
            self.slices[where] = Slice(meta=self.meta(where.name, where.namespace), content=content)
        elif old.content != content:
            meta = replace(old.meta, generation=old.meta.generation + 1)
            self.slices[where] = Slice(meta=meta, content=content)
        else:
            return
        self.events.append(dict(self.slices))

    # What the nodes do

    def act(self, name: str, *, behind: int = 0) -> None:
        """An agent acts on its LvsNode as it is and on the slices as they were so many events ago."""
        if self.is_off(name):
            return
        machine = self.machines[name]
        node = self.lvs_nodes.get(name)
        spec = node.spec if node is not None else None
        machine.told = node.meta.generation if node is not None else 0
        machine.bound = set(told_needs(name, spec.addresses if spec else None))
        machine.groups = frozenset((spec.director_groups if spec else None) or ())
        gives_way = (spec.gives_way if spec else None) or ()
        machine.holds = frozenset(
            group for group in machine.groups if group not in gives_way and self._is_active(group, name, machine)
        )
        machine.at = max(machine.at, len(self.events) - 1 - behind)
        machine.direct(self.events[machine.at])

    def _is_active(self, group: str, name: str, machine: Machine) -> bool:
        status = self.groups[group].status if group in self.groups else None
        if status is None or status.active is None:
            return group in machine.holds
        return status.active == name

    def finish(self, name: str) -> None:
        """Connections of leaving members end on a director."""
        machine = self.machines[name]
        machine.finish(self.events[machine.at])

    def report(self, name: str) -> None:
        """An agent writes its status."""
        machine, node = self.machines[name], self.lvs_nodes.get(name)
        if node is None or self.is_off(name):
            return
        slices = self.events[machine.at]
        leftover = sorted({key[0] for key in machine.leftover(slices)})
        drained: dict[ObjectKey, set[str]] = {}
        for key, member, _ in machine.finished:
            drained.setdefault(key, set()).add(member)
        status = LvsNodeStatus(
            boot_id=f"{name}-boot-{machine.boot}",
            observed_generation=machine.told,
            addresses=[machine.address_status(one) for one in sorted(machine.bound) if not one.port] or None,
            own_addresses=self._own_addresses(name) if machine.groups else None,
            director_groups=[
                DirectorReport(
                    name=group,
                    view_digest=slices_digest(one for one in slices.values() if one.content.director_group == group),
                    holds_addresses=group in machine.holds,
                    virtual_routers=machine.routers,
                    group_generation=self.groups[group].meta.generation if group in self.groups else None,
                )
                for group in sorted(machine.groups)
            ]
            or None,
            drained=[
                DrainedMembers(namespace=key.namespace, name=key.name, members=sorted(names)[:MAX_DRAINED_MEMBERS])
                for key, names in sorted(drained.items())
            ]
            or None,
            exceptions=[
                ServiceException(
                    namespace=key.namespace,
                    name=key.name,
                    reason="MembersNotReady",
                    message="still draining",
                    programmed=True,
                    draining=1,
                )
                for key in leftover
            ]
            or None,
        )
        self.lvs_nodes[name] = replace(node, status=status)

    def is_off(self, name: str) -> bool:
        """A Node is called out of service by somebody who knows that the machine is off."""
        return name in self.nodes and self.nodes[name].out_of_service

    def reboot(self, name: str) -> None:
        """A node starts again: its kernel is empty, its agent has not run."""
        old = self.machines[name]
        self.machines[name] = Machine(name=name, boot=old.boot + 1, at=old.at)

    def _own_addresses(self, name: str) -> list[str] | None:
        if name not in self.nodes:
            return None
        return [*self.nodes[name].internal_addresses, *self.unlisted.get(name, ())]

    def settle(self, *, rounds: int = 12) -> None:
        """Everybody acts, drains end, and the operator decides, until nothing changes any more."""
        before = None
        for _ in range(rounds):
            self.round()
            for name in self.machines:
                self.act(name)
                self.finish(name)
                self.report(name)
            now = (dict(self.slices), dict(self.lvs_nodes), dict(self.services), dict(self.groups))
            if now == before:
                return
            before = now
        raise AssertionError("the cluster does not come to rest")

    # What must hold

    def forwarded_without_address(self) -> Iterable[tuple[str, Need]]:
        """Directors that may forward to a node which has been told to give up the VIP."""
        asked = {need for name, node in self.lvs_nodes.items() for need in told_needs(name, node.spec.addresses)}
        for director, machine in self.machines.items():
            if director not in self.nodes or self.nodes[director].out_of_service:
                continue
            for entry in machine.entries.values():
                for need in entry.needs:
                    if need.node in self.nodes and need not in asked:
                        yield director, need

    def kept_out(self) -> Iterable[tuple[str, str]]:
        """Directors that may send wrapped packets to a node which has been told not to unwrap theirs."""
        for name, machine in self.machines.items():
            own = set(self._own_addresses(name) or ())
            if self.is_off(name) or not own:
                continue
            for need in {one for entry in machine.entries.values() for one in entry.needs}:
                node = self.lvs_nodes.get(need.node)
                told = node.spec.director_addresses if node is not None else None
                if need.device is not BindDevice.LO and told is not None and not own <= set(told):
                    yield name, need.node

    def prepared_without_report(self) -> Iterable[Member]:
        """Members called prepared whose node does not say so, or whose agent is silent."""
        view = self.view()
        for need, _, member in slices_needs(self.slices.values()):
            if not member.prepared or not is_of_present_method(need, member):
                continue
            node = self.lvs_nodes.get(need.node)
            status = node.status if node is not None else None
            bound = {(one.address, one.device) for one in (status.addresses if status else None) or ()}
            ready = need.node in self.nodes and not view.is_called_gone(self.nodes[need.node])
            boot = status.boot_id if status is not None else None
            is_silent = need.node in self.silent and view.silence_is_news
            if not ready or is_silent or (need.address, need.device) not in bound or boot != member.boot_id:
                yield member

    def holders(self, group: str) -> list[str]:
        """Machines that carry a group's addresses and are not known to be off."""
        return [
            name
            for name, machine in self.machines.items()
            if group in machine.holds and name in self.nodes and not self.nodes[name].out_of_service
        ]
