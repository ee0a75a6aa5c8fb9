"""A plan in the kernel's words, made once for each plan: what every round needs and no circumstance changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from lvs_agent.decide.health_verdict import Check
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    IPAddress,
    ServiceSettings,
)
from lvs_agent.decide.kernel_words import (
    check_of,
    destination_key,
    destination_settings,
    service_key,
    service_settings,
)
from lvs_agent.decide.node_word import Carried
from lvs_agent.decide.refused_addresses import NO_REFUSALS, Refusals
from lvs_api.bind_device import BindDevice
from lvs_api.network_types import ForwardingMethod
from lvs_core.needs import device_for
from lvs_core.plan import NodePlan, PlannedMember, PlannedService, family_of_ip


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedMember:
    """A real server in one kernel service."""

    planned: PlannedMember
    key: DestinationKey
    check: Check | None
    with_weight: DestinationSettings
    without_weight: DestinationSettings
    need: Carried | None
    """What its node must carry; None where it needs no VIP, or is a plain machine that nobody can ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The ways to real servers, by address."""

    routed: frozenset[IPAddress] = frozenset()
    """All of them."""
    masqueraded: frozenset[IPAddress] = frozenset()
    """Reached by Masquerade, or with connections that began so: their answers are forwarded."""
    tunnelled: frozenset[IPAddress] = frozenset()
    """Reached by Tunnel."""
    formerly_direct: frozenset[IPAddress] = frozenset()
    """With another method now, of which DirectRouting connections may live on."""
    has_source_nat: bool = False
    """Some real server sees this node's address instead of the client's."""
    replies_pass_by: bool = False
    """Some real server answers clients directly: DirectRouting or Tunnel."""

    @classmethod
    def of(cls, members: Iterable["PreparedMember"]) -> Self:
        """Of one service."""
        members = tuple(members)
        methods = {member.planned.method for member in members}
        routed = frozenset(member.planned.address for member in members)
        masqueraded = frozenset(member.planned.address for member in members if _is_masqueraded(member))
        return cls(
            routed=routed,
            masqueraded=routed if masqueraded == routed else masqueraded,  # one set takes less memory than two
            tunnelled=frozenset(
                member.planned.address for member in members if member.planned.method is ForwardingMethod.TUNNEL
            ),
            formerly_direct=frozenset(member.planned.address for member in members if _was_direct(member)),
            has_source_nat=any(member.planned.source_nat for member in members),
            replies_pass_by=not methods <= {ForwardingMethod.MASQUERADE},
        )

    @classmethod
    def together(cls, parts: Iterable[Self]) -> Self:
        """Of all services. Sets are put together without a look at each address, of which there may be very many."""
        parts = tuple(parts)
        return cls(
            routed=frozenset().union(*(one.routed for one in parts)),
            masqueraded=frozenset().union(*(one.masqueraded for one in parts)),
            tunnelled=frozenset().union(*(one.tunnelled for one in parts)),
            formerly_direct=frozenset().union(*(one.formerly_direct for one in parts)),
            has_source_nat=any(one.has_source_nat for one in parts),
            replies_pass_by=any(one.replies_pass_by for one in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedService:
    """One kernel service."""

    planned: PlannedService
    key: AnyServiceKey
    settings: ServiceSettings
    members: tuple[PreparedMember, ...]
    staying: frozenset[DestinationKey]
    """Destinations that the slices do not refuse."""
    asks_drains: bool
    """Some member leaves or was reached by another method before."""
    reach: Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPlan:
    """The whole plan. `services` lacks those whose addresses this node does not take."""

    plan: NodePlan
    services: tuple[PreparedService, ...]
    routed: frozenset[IPAddress]
    """Addresses whose route matters: real servers', to be on link, to know where replies come in or what the source of
    wrapped packets is; and those of directors that wrap packets for this node, to know how large these may be, or that
    hand on to it what it directs itself."""
    masqueraded: frozenset[IPAddress]
    """Real servers reached by Masquerade, or with connections that began so: their answers are forwarded."""
    tunnelled: frozenset[IPAddress]
    """Real servers reached by Tunnel."""
    has_source_nat: bool
    """Some real server sees this node's address instead of the client's."""
    formerly_direct: frozenset[IPAddress]
    """Real servers with another method now, of which DirectRouting connections may live on."""
    replies_pass_by: bool
    """Some real server answers clients directly: DirectRouting or Tunnel."""
    persistent: bool
    """Clients of some service stick to their real server."""
    has_udp_flows: bool
    """Some service has connections without an end of their own."""
    refusals: Refusals = NO_REFUSALS

    def is_of(self, plan: NodePlan, refusals: Refusals) -> bool:
        """Whether it was made from just these."""
        return self.plan is plan and self.refusals is refusals


def prepare(plan: NodePlan, before: PreparedPlan | None = None, refusals: Refusals = NO_REFUSALS) -> PreparedPlan:
    """Prepare a plan; services that are as they were `before` are taken from there."""
    known = {service.key: service for service in before.services} if before is not None else {}
    services = []
    for planned in plan.services():
        if planned.vip in refusals.left_out:
            continue
        earlier = known.get(service_key(planned.key))
        is_same = earlier is not None and (earlier.planned is planned or earlier.planned == planned)
        services.append(earlier if earlier is not None and is_same else _prepare_service(planned))
    reach = Reach.together(service.reach for service in services)
    return PreparedPlan(
        plan=plan,
        services=tuple(services),
        routed=reach.routed.union(plan.director_addresses, *asked_directors(plan).values()),
        masqueraded=reach.masqueraded,
        tunnelled=reach.tunnelled,
        has_source_nat=reach.has_source_nat,
        formerly_direct=reach.formerly_direct,
        replies_pass_by=reach.replies_pass_by,
        persistent=any(service.planned.persistence is not None for service in services),
        has_udp_flows=any(service.planned.has_udp_flows for service in services),
        refusals=refusals,
    )


def asked_directors(plan: NodePlan) -> Mapping[str, tuple[IPAddress, ...]]:
    """The other directors of which this node has to know the MAC addresses, with the addresses to ask for."""
    if not any(bound.device is BindDevice.LO for bound in plan.bind):
        return {}
    return {other.node: other.addresses for director in plan.directing for other in director.others}


def _is_masqueraded(member: PreparedMember) -> bool:
    return ForwardingMethod.MASQUERADE in {member.planned.method, _former_method(member)}


def _former_method(member: PreparedMember) -> ForwardingMethod | None:
    return member.planned.former.method if member.planned.former is not None else None


def _was_direct(member: PreparedMember) -> bool:
    direct = ForwardingMethod.DIRECT_ROUTING
    return _former_method(member) is direct and member.planned.method is not direct


def _need(planned: PlannedService, member: PlannedMember) -> Carried | None:
    tunnel = member.tunnel.type if member.tunnel is not None else None
    device = device_for(member.method, tunnel, family_of_ip(member.address))
    if member.node is None or device is None or planned.vip is None:
        return None
    return Carried(planned.vip, device, member.tunnel.port if member.tunnel is not None else 0)


def _prepare_service(planned: PlannedService) -> PreparedService:
    members = tuple(
        PreparedMember(
            planned=member,
            key=destination_key(member),
            check=check_of(member.check) if member.check is not None else None,
            with_weight=destination_settings(member, member.weight),
            without_weight=destination_settings(member, 0),
            need=_need(planned, member),
        )
        for member in planned.members
    )
    return PreparedService(
        planned=planned,
        key=service_key(planned.key),
        settings=service_settings(planned),
        members=members,
        staying=frozenset(member.key for member in members if member.planned.refused is None),
        reach=Reach.of(members),
        asks_drains=any(m.draining_seconds is not None or m.former is not None for m in planned.members),
    )
