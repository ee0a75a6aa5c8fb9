"""Who the real servers of a service are to be, from its pool, the Nodes and the endpoints of a Service."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lvs_api.conditions import Reason
from lvs_api.network_types import NODE_MEMBER_PREFIX, NODE_MEMBER_PREFIX_IPV6, Family, Forwarding
from lvs_api.real_server_pool import OnFailure, RealServerState
from lvs_api.service_slice import AcceptedService
from lvs_api.virtual_service import LvsVirtualServiceSpec
from lvs_core.cluster_view import ClusterNode, ClusterView, Member, MemberPort, ObjectKey, PoolSpec, family_of
from lvs_core.crossing import crosses, served_families
from lvs_core.endpoint_members import FoundEndpoint, found_endpoints, last_to_serve, matched_ports
from lvs_core.endpoints import CoreService, EndpointSlice, EndpointState
from lvs_core.forwarding import needs_address, shared_forwarding
from lvs_core.frontends import families, is_marked_by_others, ports
from lvs_core.selectors import selects


class WantedMember(NamedTuple):
    """A real server as the user wants it, before it is placed, prepared or drained."""

    name: str
    address: str
    port: int | None
    weight: int
    forwarding: Forwarding
    upper_threshold: int
    lower_threshold: int
    node: str | None
    state: RealServerState
    refused: str | None
    ports: tuple[MemberPort, ...] = ()
    is_ready: bool = True
    """False: an endpoint that is not; it keeps its place, and does not join before it is."""
    is_last: bool = False
    """An endpoint that terminates, and gets connections for want of one that is ready."""

    def drained(self) -> "WantedMember":
        """The same, and nothing new comes to it."""
        return self._replace(weight=0, state=RealServerState.DRAINING, is_ready=False, is_last=False)

    @property
    def leaves(self) -> bool:
        """Whether nothing new comes to it, by somebody's word; what is merely not ready may be so in a moment."""
        may_return = not self.is_ready and self.state is RealServerState.DISABLED
        return self.state is not RealServerState.ACTIVE and not may_return


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupDirectors:
    """What of its directors counts for who can be a real server."""

    names: Collection[str]
    """Nodes that the group selects, and former directors that have not let go."""
    synchronize: bool
    """They run sync daemons."""
    own: Collection[str] = ()
    """Every address that one of them calls its own, also those that its Node does not have."""


@dataclass(frozen=True, kw_only=True)
class PoolFinder:
    """Finds the members of pools; what Nodes a selector finds is found once per pool."""

    view: ClusterView

    @cached_property
    def _selected(self) -> dict[ObjectKey, tuple[ClusterNode, ...]]:
        return {}

    def selected_nodes(self, key: ObjectKey, pool: PoolSpec) -> tuple[ClusterNode, ...]:
        """The Nodes that a pool's selector finds, by name. One that is out of service is no real server."""
        found = self._selected.get(key)
        if found is None:
            members = pool.nodes
            found = tuple(
                node
                for node in self.view.nodes.values()
                if members is not None and not node.out_of_service and selects(members.selector, node.labels)
            )
            self._selected[key] = found
        return found

    def count(self, key: ObjectKey, pool: PoolSpec) -> int:
        """How many real servers a pool has: entries, selected Nodes and endpoints, each once."""
        named = {server.address for server in pool.real_servers}
        others = (node for node in self.selected_nodes(key, pool) if named.isdisjoint(node.internal_addresses))
        selected = [node for node in others if node.internal_addresses]
        named.update(address for node in selected for address in node.internal_addresses)
        return len(pool.real_servers) + len(selected) + len(self._endpoint_addresses(key, pool) - named)

    def find(
        self, key: ObjectKey, pool: PoolSpec, service: LvsVirtualServiceSpec, directors: GroupDirectors
    ) -> tuple[WantedMember, ...]:
        """The members for a service: those to which some of its packets can come, sorted by name.

        An entry of `realServers` goes before a selected Node with the same address: so weights are given per Node. Both
        go before an endpoint, say a pod of the host's network.
        """
        wanted = families(service)
        named = {server.address for server in pool.real_servers}
        nodes = [
            member
            for node in self.selected_nodes(key, pool)
            for member in _node_members(node, pool, service)
            if member.address not in named
        ]
        named.update(member.address for member in nodes)
        endpoints = [member for member in self._endpoints(key, pool, service) if member.address not in named]
        members = [*self._named(pool, service), *nodes, *endpoints]
        return tuple(
            sorted(
                (
                    _judged(member, directors, wanted, by_others=is_marked_by_others(service))
                    for member in members
                    if served_families(member.address, member.forwarding, wanted)
                ),
                key=lambda member: member.name,
            )
        )

    def core_service(self, key: ObjectKey, pool: PoolSpec) -> CoreService | None:
        """The Service whose endpoints are members; None where it is missing, or none is named."""
        if pool.endpoints is None:
            return None
        return self.view.core_services.get(ObjectKey(key.namespace, pool.endpoints.service_ref.name))

    def _endpoint_addresses(self, key: ObjectKey, pool: PoolSpec) -> set[str]:
        """Those that do not terminate, at whatever ports; and those that do, where nobody else serves."""
        terminating = {EndpointState.TERMINATING, EndpointState.SERVING}
        stay = {
            address
            for one in self.endpoint_slices(key, pool)
            for address, state in one.endpoints
            if state not in terminating
        }
        return stay | self.last_addresses(key, pool)

    def last_addresses(self, key: ObjectKey, pool: PoolSpec) -> frozenset[str]:
        """Endpoints that terminate and still serve, of a family of which none is ready."""
        found = [endpoint for one in self.endpoint_slices(key, pool) for endpoint in one.endpoints]
        ready = {family_of(address) for address, state in found if state is EndpointState.READY}
        serving = (address for address, state in found if state is EndpointState.SERVING)
        return frozenset(address for address in serving if family_of(address) not in ready)

    def endpoint_slices(self, key: ObjectKey, pool: PoolSpec) -> tuple[EndpointSlice, ...]:
        """Those of that Service."""
        core = self.core_service(key, pool)
        return self.view.endpoint_slices.get(ObjectKey(core.namespace, core.name), ()) if core is not None else ()

    def _endpoints(self, key: ObjectKey, pool: PoolSpec, service: LvsVirtualServiceSpec) -> Iterator[WantedMember]:
        core = self.core_service(key, pool)
        if pool.endpoints is None or core is None:
            return
        matched = matched_ports(pool.endpoints, core, service)
        found = tuple(found_endpoints(self.endpoint_slices(key, pool), matched))
        last = last_to_serve(found)
        for one in found:
            yield _endpoint_member(one, pool, service, is_last=one in last)

    def _named(self, pool: PoolSpec, service: LvsVirtualServiceSpec) -> Iterator[WantedMember]:
        nodes: Mapping[str, ClusterNode] = self.view.nodes_by_address
        for server in pool.real_servers:
            node = nodes.get(server.address)
            yield WantedMember(
                name=server.name,
                address=server.address,
                port=server.port,
                weight=pool.weight if server.weight is None else server.weight,
                forwarding=server.forwarding or shared_forwarding(service.forwarding),
                upper_threshold=server.upper_threshold,
                lower_threshold=server.lower_threshold,
                node=None if node is None else node.name,
                state=server.state,
                refused=None,
            )


def _node_members(node: ClusterNode, pool: PoolSpec, service: LvsVirtualServiceSpec) -> Iterator[WantedMember]:
    """A Node's first InternalIP of each family."""
    seen: set[Family] = set()
    for address in node.internal_addresses:
        family = family_of(address)
        if family in seen:
            continue
        seen.add(family)
        prefix = NODE_MEMBER_PREFIX if family is Family.IPV4 else NODE_MEMBER_PREFIX_IPV6
        yield WantedMember(
            name=prefix + node.name,
            address=address,
            port=None,
            weight=pool.weight,
            forwarding=shared_forwarding(service.forwarding),
            upper_threshold=0,
            lower_threshold=0,
            node=node.name,
            state=RealServerState.ACTIVE,
            refused=None,
        )


def _endpoint_member(
    found: FoundEndpoint, pool: PoolSpec, service: LvsVirtualServiceSpec, *, is_last: bool
) -> WantedMember:
    """What an endpoint's state means: weight, none for a while, out, or away."""
    terminates = found.state in {EndpointState.TERMINATING, EndpointState.SERVING}
    is_ready = found.state is EndpointState.READY or is_last
    state = RealServerState.ACTIVE
    if not is_ready and pool.on_failure is OnFailure.REMOVE:
        state = RealServerState.DISABLED
    has_one_port = len(ports(service)) == 1
    member = WantedMember(
        name=found.name,
        address=found.address,
        port=found.ports[0].number if has_one_port else None,
        weight=pool.weight if is_ready else 0,
        forwarding=shared_forwarding(service.forwarding),
        upper_threshold=0,
        lower_threshold=0,
        node=None,
        state=state,
        refused=None,
        ports=() if has_one_port else found.ports,
        is_ready=is_ready,
        is_last=is_last,
    )
    return member.drained() if terminates and not is_last else member


def _judged(
    member: WantedMember, directors: GroupDirectors, wanted: AbstractSet[Family], *, by_others: bool
) -> WantedMember:
    """What a DirectRouting or Tunnel member that is a director must not balance again is what another one sends it.

    The only director takes for itself what falls to it, at the VIP that it carries: nothing has to be prepared there.
    One of several is prepared as any real server, and its agent sees to it that such packets find the server: it knows
    them by the VIP and gives them a mark of its own. Where somebody else sets marks his may be the last, and where
    packets are of another family than the address by which they come there is none for them: it can not. Nor by an
    address that its Node does not have: it is not told to prepare itself for that.
    A member of another family than its packets keeps sync daemons from starting, and they keep it out of the kernel.
    """
    needs_vip, is_alone = needs_address(member.forwarding.method), len(directors.names) == 1
    if needs_vip and member.node in directors.names:
        refused = None if member.refused == Reason.DIRECTOR_IS_REAL_SERVER else member.refused
        if is_alone:
            member = member._replace(node=None, refused=refused)
        elif by_others or crosses(member.address, member.forwarding, wanted):
            return member._replace(refused=Reason.DIRECTOR_IS_REAL_SERVER.value)
        else:
            member = member._replace(refused=refused)
    elif needs_vip and not is_alone and member.node is None and member.address in directors.own:
        return member._replace(refused=Reason.DIRECTOR_IS_REAL_SERVER.value)
    if directors.synchronize and crosses(member.address, member.forwarding, wanted):
        return member._replace(refused=Reason.OTHER_FAMILY_WITH_SYNC.value)
    return member


def wanted_as_they_are(
    view: ClusterView, members: Sequence[Member], directors: Collection[str], service: AcceptedService
) -> tuple[WantedMember, ...]:
    """The members of a service whose objects cannot be followed: those that it has, except the leaving.

    One whose Node has become a director is judged anew all the same.
    """
    theirs = GroupDirectors(names=directors, synchronize=False)
    wanted, by_others = families(service), is_marked_by_others(service)
    return tuple(
        _judged(
            WantedMember(
                name=member.name,
                address=member.address,
                port=member.port,
                weight=member.weight,
                forwarding=member.forwarding,
                upper_threshold=member.upper_threshold,
                lower_threshold=member.lower_threshold,
                node=member.node or _director_at(view, member.address, directors),
                state=RealServerState.ACTIVE,
                refused=member.refused,
                ports=member.ports,
                is_ready=not member.unready,
            ),
            theirs,
            wanted,
            by_others=by_others,
        )
        for member in sorted(members, key=lambda member: member.name)
        if member.draining_seconds is None
    )


def _director_at(view: ClusterView, address: str, directors: Collection[str]) -> str | None:
    """The director that a real server without a Node is: it was the only one when it joined."""
    node = view.nodes_by_address.get(address)
    return node.name if node is not None and node.name in directors else None
