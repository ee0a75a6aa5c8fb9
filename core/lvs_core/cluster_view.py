"""What the cluster looks like: frozen values, keyed and sorted, from which everything is decided.

Members are named tuples of short values rather than API models: there may be 50,000 of them, each in a pool and in a
slice. Everything else keeps the API's own types.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from lvs_api.address_pool import LvsAddressPoolSpec, LvsAddressPoolStatus
from lvs_api.director_group import LvsDirectorGroupSpec, LvsDirectorGroupStatus
from lvs_api.lvs_node import LvsNodeSpec, LvsNodeStatus
from lvs_api.network_types import Family, Forwarding
from lvs_api.objects import ObjectMeta
from lvs_api.real_server_pool import (
    Drain,
    EndpointMembers,
    HealthCheck,
    LvsRealServerPoolStatus,
    NodeMembers,
    OnFailure,
    RealServerState,
)
from lvs_api.service_slice import AcceptedPool, AcceptedService
from lvs_api.virtual_service import LvsVirtualServiceSpec, LvsVirtualServiceStatus
from lvs_core.endpoints import CoreService, EndpointSlice
from lvs_core.load_balancers import FormerLoadBalancer, LoadBalancer

OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
"""Set by an administrator who knows that the node is powered off (kubernetes.io, non-graceful node shutdown)."""


class ObjectKey(NamedTuple):
    """Namespace and name; the namespace of cluster-scoped objects is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(meta: ObjectMeta) -> ObjectKey:
    """The key under which an object is found."""
    return ObjectKey(meta.namespace or "", meta.name)


def family_of(address: str) -> Family:
    """The family of an address that was read and found good before."""
    return Family.IPV6 if ":" in address else Family.IPV4


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualService:
    """A LvsVirtualService. One of `spec` and `spec_error` is set."""

    meta: ObjectMeta
    spec: LvsVirtualServiceSpec | None = None
    spec_error: str | None = None
    """What is wrong with a spec that cannot be read, field by field."""
    status: LvsVirtualServiceStatus | None = None


class PoolMember(NamedTuple):
    """An entry of a pool's `realServers`; see `lvs_api.real_server_pool.RealServer` for the fields."""

    name: str
    address: str
    port: int | None
    weight: int | None
    forwarding: Forwarding | None
    upper_threshold: int
    lower_threshold: int
    state: RealServerState


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSpec:
    """A LvsRealServerPool's spec, members as tuples in the order of the object."""

    real_servers: tuple[PoolMember, ...] = ()
    nodes: NodeMembers | None = None
    endpoints: EndpointMembers | None = None
    weight: int = 1
    health_check: HealthCheck | None = None
    on_failure: OnFailure | None = None
    drain: Drain = field(default_factory=Drain)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A LvsRealServerPool. One of `spec` and `spec_error` is set."""

    meta: ObjectMeta
    spec: PoolSpec | None = None
    spec_error: str | None = None
    status: LvsRealServerPoolStatus | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DirectorGroup:
    """A LvsDirectorGroup. One of `spec` and `spec_error` is set."""

    meta: ObjectMeta
    spec: LvsDirectorGroupSpec | None = None
    spec_error: str | None = None
    status: LvsDirectorGroupStatus | None = None
    hand_over_request: str | None = None
    """A person's request that another director carry the addresses, as the annotation says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressPool:
    """A LvsAddressPool. One of `spec` and `spec_error` is set."""

    meta: ObjectMeta
    spec: LvsAddressPoolSpec | None = None
    spec_error: str | None = None
    status: LvsAddressPoolStatus | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Namespace:
    """A Namespace, as far as it concerns us."""

    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterNode:
    """A Node of the cluster, as far as it concerns us."""

    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    internal_addresses: tuple[str, ...] = ()
    """Its InternalIPs, in the Node's order."""
    other_addresses: tuple[str, ...] = ()
    """Every other IP address that the Node names."""
    ready: bool = True
    """False: its Ready condition says False or Unknown. A Node without that condition is nobody's to judge."""
    out_of_service: bool = False
    """It carries the taint node.kubernetes.io/out-of-service."""
    cordoned: bool = False
    """It takes no pods (`spec.unschedulable`), as before a drain."""
    boot_id: str | None = None
    """nodeInfo.bootID, where a kubelet reports one."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every IP address of the Node."""
        return self.internal_addresses + self.other_addresses


@dataclass(frozen=True, kw_only=True, slots=True)
class LvsNode:
    """A LvsNode: what the operator wrote and what the agent reported."""

    meta: ObjectMeta
    spec: LvsNodeSpec
    status: LvsNodeStatus | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentSigns:
    """What the agents' Leases say, by node. A node that stands nowhere here has no Lease."""

    late: frozenset[str] = frozenset()
    """A renewal is overdue; the silent ones are among them."""
    silent: frozenset[str] = frozenset()
    """The Lease ran out."""
    unheard: frozenset[str] = frozenset()
    """Not renewed since the operator began to look: the report may be an old one."""
    heard: frozenset[str] = frozenset()
    """Renewed since then, and not late: the node runs, whatever else is said of it."""


class Former(NamedTuple):
    """The method by which a member was reached before an edit."""

    forwarding: Forwarding
    timeout_seconds: int


class MemberPort(NamedTuple):
    """Where packets for one port of a service go on a member."""

    name: str
    """The service's port."""
    number: int
    """The member's."""


class Member(NamedTuple):
    """A member of a slice; see `lvs_api.service_slice.SliceMember` for the fields."""

    name: str
    address: str
    port: int | None
    weight: int
    forwarding: Forwarding
    upper_threshold: int
    lower_threshold: int
    node: str | None
    prepared: bool
    boot_id: str | None
    refused: str | None
    former: Former | None
    draining_seconds: int | None
    """None: it stays; else it leaves, within so many seconds."""
    ports: tuple[MemberPort, ...] = ()
    """Its own for each port of the service that it serves, sorted by name; empty: it serves all, at `port` if it has
    one."""
    unready: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceContent:
    """What a LvsServiceSlice says."""

    service_name: str
    service_uid: str
    director_group: str
    index: int
    service: AcceptedService | None = None
    pool: AcceptedPool | None = None
    members: tuple[Member, ...] = ()
    """Sorted by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A LvsServiceSlice as it is in the cluster."""

    meta: ObjectMeta
    content: SliceContent

    @property
    def key(self) -> ObjectKey:
        """Where it is found."""
        return key_of(self.meta)

    @property
    def service_key(self) -> ObjectKey:
        """The service to which it belongs."""
        return ObjectKey(self.meta.namespace or "", self.content.service_name)


NamedT = TypeVar("NamedT", VirtualService, Pool, DirectorGroup, AddressPool, LvsNode, Slice)


def _by_key(objects: Iterable[NamedT]) -> Mapping[ObjectKey, NamedT]:
    return dict(sorted(((key_of(one.meta), one) for one in objects), key=lambda item: item[0]))


def _by_service(slices: Iterable[EndpointSlice]) -> Mapping[ObjectKey, tuple[EndpointSlice, ...]]:
    grouped: dict[ObjectKey, list[EndpointSlice]] = {}
    for one in slices:
        if one.service:
            grouped.setdefault(ObjectKey(one.namespace, one.service), []).append(one)
    return {key: tuple(sorted(ones, key=lambda one: one.name)) for key, ones in grouped.items()}


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """Everything at one moment. Build it with `make_view`, which sorts."""

    services: Mapping[ObjectKey, VirtualService]
    pools: Mapping[ObjectKey, Pool]
    groups: Mapping[str, DirectorGroup]
    nodes: Mapping[str, ClusterNode]
    lvs_nodes: Mapping[str, LvsNode]
    slices: Mapping[ObjectKey, Slice]
    core_services: Mapping[ObjectKey, CoreService]
    endpoint_slices: Mapping[ObjectKey, tuple[EndpointSlice, ...]]
    """By the Service to which they belong."""
    signs: AgentSigns
    address_pools: Mapping[str, AddressPool]
    namespaces: Mapping[str, Namespace]
    address_pools_known: bool
    """False: pools may exist that are not here. Nothing is permitted then that is not served, and nothing withdrawn."""
    address_pools_required: bool
    """True: also while it is known that there is no pool, nothing is permitted."""

    @cached_property
    def slices_by_service(self) -> Mapping[ObjectKey, tuple[Slice, ...]]:
        """The slices of each service by its name, in order of index; slices of a predecessor with another uid too."""
        grouped: dict[ObjectKey, list[Slice]] = {}
        for one in self.slices.values():
            grouped.setdefault(one.service_key, []).append(one)
        return {key: tuple(sorted(ones, key=lambda one: one.content.index)) for key, ones in grouped.items()}

    @cached_property
    def load_balancers(self) -> Mapping[ObjectKey, LoadBalancer]:
        """The Services of our class that are not being deleted."""
        asking = ((key, core.load_balancer) for key, core in self.core_services.items())
        return dict(sorted((key, one) for key, one in asking if isinstance(one, LoadBalancer)))

    @cached_property
    def former_load_balancers(self) -> Mapping[ObjectKey, FormerLoadBalancer]:
        """The Services that were of our class, and say so still."""
        asking = ((key, core.load_balancer) for key, core in self.core_services.items())
        return {key: one for key, one in asking if isinstance(one, FormerLoadBalancer)}

    @cached_property
    def nodes_by_address(self) -> Mapping[str, ClusterNode]:
        """The Node that has an address. Where several claim it, the first by name."""
        found: dict[str, ClusterNode] = {}
        for node in self.nodes.values():
            for address in node.addresses:
                found.setdefault(address, node)
        return found

    @cached_property
    def readiness_is_news(self) -> bool:
        """Whether a Node that is not ready says something of that node.

        When more than half of the Nodes with a part are not ready, their reports did not get through: the API server
        was away, or the network to it. That is no news of any of them, and nobody loses weight for it. (The node
        controller of Kubernetes reasons alike before it evicts; `--unhealthy-zone-threshold`, 55 %.)
        """
        with_part = [node for name, node in self.nodes.items() if name in self.lvs_nodes]
        return 2 * sum(not node.ready for node in with_part) <= len(with_part)

    def is_called_gone(self, node: ClusterNode) -> bool:
        """Whether it is news of this Node that it is not ready.

        Not where its agent renews its Lease: the kubelet may be down, or its renewals were lost in an outage of the API
        server, after which the node controller calls Nodes not ready for a moment. Nor while an operator that has just
        started can not know yet whether it does.
        """
        name, signs = node.name, self.signs
        may_run = node.ready or name in signs.heard or (name in signs.unheard and name not in signs.late)
        return not may_run and self.readiness_is_news

    def runs(self, node: ClusterNode) -> bool:
        """Whether it is known to, or no Node is known not to."""
        return node.ready or node.name in self.signs.heard or not self.readiness_is_news

    @cached_property
    def silence_is_news(self) -> bool:
        """Whether an agent whose Lease ran out says something of that agent.

        When more than half of the Nodes with a part are late, it is their renewals that do not get through, and nobody
        loses weight for it. Late rather than silent: they do not all run out at the same moment.
        """
        with_part = self.nodes.keys() & self.lvs_nodes.keys()
        return 2 * len(self.signs.late & with_part) <= len(with_part)


NOTHING_HEARD_AMISS = AgentSigns()


def make_view(
    *,
    services: Iterable[VirtualService] = (),
    pools: Iterable[Pool] = (),
    groups: Iterable[DirectorGroup] = (),
    nodes: Iterable[ClusterNode] = (),
    lvs_nodes: Iterable[LvsNode] = (),
    slices: Iterable[Slice] = (),
    core_services: Iterable[CoreService] = (),
    endpoint_slices: Iterable[EndpointSlice] = (),
    signs: AgentSigns = NOTHING_HEARD_AMISS,
    address_pools: Iterable[AddressPool] = (),
    namespaces: Iterable[Namespace] = (),
    address_pools_known: bool = True,
    address_pools_required: bool = False,
) -> ClusterView:
    """A view in which every mapping is sorted, so that equal objects give equal results in equal order."""
    return ClusterView(
        services=_by_key(services),
        pools=_by_key(pools),
        groups={key.name: group for key, group in _by_key(groups).items()},
        nodes={node.name: node for node in sorted(nodes, key=lambda node: node.name)},
        lvs_nodes={key.name: node for key, node in _by_key(lvs_nodes).items()},
        slices=_by_key(slices),
        core_services={ObjectKey(one.namespace, one.name): one for one in core_services},
        endpoint_slices=_by_service(endpoint_slices),
        signs=signs,
        address_pools={key.name: pool for key, pool in _by_key(address_pools).items()},
        namespaces={one.name: one for one in sorted(namespaces, key=lambda one: one.name)},
        address_pools_known=address_pools_known,
        address_pools_required=address_pools_required,
    )
