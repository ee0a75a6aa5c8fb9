"""From the slices, the director groups and its own LvsNode to what one node has to do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import NamedTuple

from lvs_api.network_types import ConnectionHelper, Family, Tunnel, TunnelChecksum, TunnelType
from lvs_api.quorum import BelowQuorum, Quorum
from lvs_api.real_server_pool import HealthCheck
from lvs_api.service_slice import AcceptedService
from lvs_api.virtual_service import Persistence, ServicePort
from lvs_core.cluster_view import (
    DirectorGroup,
    LvsNode,
    Member,
    ObjectKey,
    Slice,
    SliceContent,
    family_of,
    needs_address,
)
from lvs_core.crossing import served_families
from lvs_core.digest import slices_digest
from lvs_core.frontends import destination_port, families, marked_families, own_port, ports, takes, vips
from lvs_core.group_settings import settings_of
from lvs_core.plan import (
    AnyVirtualKey,
    BoundAddress,
    CheckTarget,
    DirectorPlan,
    FormerMethod,
    Holding,
    HttpTarget,
    IpAddress,
    MarkKey,
    NodePlan,
    OtherDirector,
    PlannedMember,
    PlannedPersistence,
    PlannedQuorum,
    PlannedService,
    PlannedTunnel,
    TcpTarget,
    VirtualServerKey,
)
from lvs_core.virtual_routers import speaks_vrrp
from lvs_core.vrrp import VrrpPlan
from lvs_core.vrrp_plan import vrrp_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentView:
    """All that an agent reads: complete lists, never a part of one."""

    node: str
    """The Node on which the agent runs."""
    lvs_node: LvsNode | None
    """Its own LvsNode; None: there is none, the node has no part."""
    groups: Mapping[str, DirectorGroup] = field(default_factory=lambda: MappingProxyType({}))
    slices: tuple[Slice, ...] = ()
    """At least those of the groups in which the node is a director; what is held stands here as it was."""
    held: Mapping[ObjectKey, str] = field(default_factory=lambda: MappingProxyType({}))
    """Services of which `slices` has more, or something older, than the API server has, each with the reason why."""
    acted_on: tuple[Slice, ...] | None = None
    """What the digest speaks of: the slices as the API server has them; None: `slices`."""


def compile_plan(view: AgentView) -> NodePlan:
    """What the node has to do. Equal views give equal plans."""
    return PlanCompiler().compile(view)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compiled:
    """The virtual services of one LvsVirtualService, and what they were made from."""

    parts: tuple[SliceContent, ...]
    me: "_Me"
    services: tuple[PlannedService, ...]

    def is_of(self, parts: Sequence[Slice], me: "_Me") -> bool:
        """Whether they were made from just these."""
        return (
            self.me == me
            and len(self.parts) == len(parts)
            and all(mine is part.content for mine, part in zip(self.parts, parts, strict=True))
        )


class PlanCompiler:
    """Compiles one view after the other, anew only those LvsVirtualServices of which the slices are others than before.

    With thousands of them that is what an event about one costs, and what two plans take in memory.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, ObjectKey], _Compiled] = {}
        self._now: dict[tuple[str, ObjectKey], _Compiled] = {}

    def compile(self, view: AgentView) -> NodePlan:
        """What the node has to do, as `compile_plan` says it."""
        self._before, self._now = self._now, {}
        if view.lvs_node is None:
            return NodePlan(node=view.node, observed_generation=None)
        return _node_plan(view, view.lvs_node, self)

    def services(self, group: str, key: ObjectKey, parts: Sequence[Slice], me: "_Me") -> _Compiled | None:
        """The virtual services of one LvsVirtualService; None where its first slice has not been seen."""
        compiled = self._before.get((group, key))
        if compiled is None or not compiled.is_of(parts, me):
            made = _services(key, parts, me)
            if made is None:
                return None
            compiled = _Compiled(parts=tuple(part.content for part in parts), me=me, services=made)
        self._now[group, key] = compiled
        return compiled


def _node_plan(view: AgentView, node: LvsNode, compiler: PlanCompiler) -> NodePlan:
    spec = node.spec
    taken: dict[AnyVirtualKey, ObjectKey] = {}
    return NodePlan(
        node=view.node,
        observed_generation=node.meta.generation,
        directing=tuple(_director_plan(view, name, taken, compiler) for name in sorted(spec.director_groups or ())),
        bind=tuple(
            sorted(
                (
                    BoundAddress(
                        address=_ip(one.address), device=one.device, gue_ports=tuple(sorted(one.gue_ports or ()))
                    )
                    for one in spec.addresses or ()
                ),
                key=lambda bound: (bound.address.version, int(bound.address), bound.device),
            )
        ),
        director_addresses=tuple(sorted(map(_ip, spec.director_addresses or ()), key=_ip_order)),
        settings=settings_of(view.node, (view.groups.get(name) for name in spec.director_groups or ())),
    )


def _director_plan(
    view: AgentView, name: str, taken: dict[AnyVirtualKey, ObjectKey], compiler: PlanCompiler
) -> DirectorPlan:
    group = view.groups.get(name)
    slices = _of_group(view.slices, name)
    known = (group.status.directors if group is not None and group.status is not None else None) or ()
    is_alone = [one.node for one in known] == [view.node]
    own = next((_ips(one.addresses) for one in known if one.node == view.node), ())
    me = _Me(view.node, own, is_alone)
    services: list[PlannedService] = []
    conflicts: list[tuple[ObjectKey, AnyVirtualKey, ObjectKey]] = []
    incomplete: list[ObjectKey] = []
    # What is held goes last: an address and port that somebody has now is not kept from them.
    by_service = sorted(_by_service(slices), key=lambda item: (item[0] in view.held, item[0]))
    for key, parts in by_service:
        compiled = compiler.services(name, key, parts, me)
        if compiled is None:
            incomplete.append(key)
            continue
        for planned in compiled.services:
            theirs = next((one for one in planned.claims() if taken.get(one, key) != key), None)
            if theirs is None:
                taken.update(dict.fromkeys(planned.claims(), key))
                services.append(planned)
            else:
                conflicts.append((key, theirs, taken[theirs]))
    addresses = sorted({one.vip for one in services if one.vip is not None}, key=lambda one: (one.version, int(one)))
    gives_way = view.lvs_node is not None and name in (view.lvs_node.spec.gives_way or ())
    holding, vrrp = _holding(view.node, group, addresses)
    if gives_way and holding is Holding.HOLD:
        holding = Holding.RELEASE
    return DirectorPlan(
        group=name,
        view_digest=slices_digest(_of_group(view.slices if view.acted_on is None else view.acted_on, name)),
        holding=holding,
        interface=group.spec.interface if group is not None and group.spec is not None else None,
        addresses=tuple(addresses),
        services=tuple(sorted(services, key=lambda one: (one.service, _order(one.key)))),
        incomplete=tuple(sorted(incomplete)),
        conflicts=tuple(conflicts),
        held=tuple((key, view.held[key]) for key, _ in by_service if key in view.held),
        generation=group.meta.generation if group is not None else None,
        vrrp=vrrp,
        own_addresses=own,
        others=tuple(OtherDirector(one.node, _ips(one.addresses)) for one in known if one.node != view.node),
        gives_way=gives_way,
    )


def _of_group(slices: Iterable[Slice], name: str) -> list[Slice]:
    return [one for one in slices if one.content.director_group == name]


def _holding(node: str, group: DirectorGroup | None, addresses: Iterable[IpAddress]) -> tuple[Holding, VrrpPlan | None]:
    """A group that cannot be read or names nobody moves nothing: who carries the VIPs goes on doing so."""
    if group is None or group.spec is None or group.status is None:
        return Holding.KEEP, None
    if speaks_vrrp(group):
        first = group.status.vrrp_begins_with
        if first is not None and first != node:
            return Holding.RELEASE, None
        vrrp = vrrp_plan(node, group, addresses)
        return (Holding.KEEP if vrrp is None else Holding.VRRP), vrrp
    is_mine = group.status.active == node
    if group.status.active is None or (is_mine and group.status.virtual_routers):
        return Holding.KEEP, None  # while others may still speak VRRP, the last Master must, too
    return (Holding.HOLD if is_mine else Holding.RELEASE), None


def _by_service(slices: Iterable[Slice]) -> Iterator[tuple[ObjectKey, Sequence[Slice]]]:
    """Services with their slices in order of index.

    Where a service was made anew and its predecessor's slices are still there, those of the first uid count.
    """
    grouped: dict[ObjectKey, dict[str, list[Slice]]] = {}
    for one in slices:
        grouped.setdefault(one.service_key, {}).setdefault(one.content.service_uid, []).append(one)
    for key in sorted(grouped):
        uid = min(grouped[key])
        yield key, sorted(grouped[key][uid], key=lambda one: one.content.index)


class _Me(NamedTuple):
    """The node that the plan is for: by which addresses it is known, and whether nobody else directs the group."""

    node: str
    addresses: tuple[IpAddress, ...]
    is_alone: bool


def _services(key: ObjectKey, parts: Sequence[Slice], me: _Me) -> tuple[PlannedService, ...] | None:
    settings = next((part.content for part in parts if part.content.service is not None), None)
    if settings is None or settings.service is None or settings.pool is None:
        return None
    service, pool = settings.service, settings.pool
    members = tuple(member for part in parts for member in part.content.members)
    made = (
        PlannedService(
            key=front.key,
            vip=front.vip,
            service=key,
            service_uid=parts[0].content.service_uid,
            port_name=front.port.name if front.port is not None else None,
            marked=front.marked,
            delivered=service.firewall_mark is not None and bool(service.firewall_mark.local_delivery),
            ftp_ports=_ftp_ports(service, front),
            scheduler=service.scheduler,
            scheduler_flags=tuple(sorted(service.scheduler_flags or ())),
            persistence=_persistence(service.persistence, front.family),
            one_packet_scheduling=service.one_packet_scheduling,
            on_failure=pool.on_failure,
            drain_seconds=pool.drain.timeout_seconds,
            paused=service.paused,
            members=_members(members, service, front, pool.health_check),
            has_one_director=me.is_alone,
            quorum=_quorum(service.quorum),
        )
        for front in _fronts(service)
    )
    return tuple(_with_me(one, me) for one in made)


def _with_me(planned: PlannedService, me: _Me) -> PlannedService:
    """One of several directors is no stranger to itself: what falls to it needs no report of its own."""
    if not any(_is_me(member, me) for member in planned.members):
        return planned
    members = (
        replace(member, node=None, prepared=True, boot_id=None, is_here=True) if _is_me(member, me) else member
        for member in planned.members
    )
    return replace(planned, members=tuple(members))


def _is_me(member: PlannedMember, me: _Me) -> bool:
    is_known = member.node == me.node or member.address in me.addresses
    return is_known and member.refused is None and needs_address(member.method)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Front:
    """What one virtual service of the kernel is found by."""

    key: AnyVirtualKey
    family: Family
    vip: IpAddress | None
    port: ServicePort | None = None
    marked: tuple[VirtualServerKey, ...] = ()


def _fronts(service: AcceptedService) -> Iterator[_Front]:
    """A virtual service for each address and port; under a mark one for each family."""
    if service.firewall_mark is not None:
        for family, vip in marked_families(service):
            key = MarkKey(mark=service.firewall_mark.value, family=family)
            marked = [] if vip is None else [server for server, _ in _servers(service, vip)]
            yield _Front(
                key=key,
                family=family,
                vip=None if vip is None else _ip(vip),
                marked=tuple(sorted(marked, key=_order)),
            )
        return
    for address in vips(service):
        for server, port in _servers(service, address):
            yield _Front(key=server, family=family_of(address), vip=server.address, port=port)


def _ftp_ports(service: AcceptedService, front: _Front) -> tuple[int, ...]:
    """Those of the front; under a mark all of the service."""
    met = (front.port,) if front.port is not None else ports(service)
    return tuple(sorted(port.port for port in met if port.helper is ConnectionHelper.FTP))


def _servers(service: AcceptedService, address: str) -> Iterator[tuple[VirtualServerKey, ServicePort]]:
    for port in ports(service):
        yield VirtualServerKey(address=_ip(address), port=port.port, protocol=port.protocol), port


def _order(key: AnyVirtualKey) -> tuple[int, int, int, str]:
    if isinstance(key, MarkKey):
        return (0, key.mark, 0, key.family)
    return (key.address.version, int(key.address), key.port, key.protocol)


def _persistence(persistence: Persistence | None, family: Family) -> PlannedPersistence | None:
    if persistence is None:
        return None
    prefix = persistence.ipv4_prefix_length if family is Family.IPV4 else persistence.ipv6_prefix_length
    return PlannedPersistence(
        timeout_seconds=persistence.timeout_seconds, prefix_length=prefix, engine=persistence.engine
    )


def _quorum(quorum: Quorum | None) -> PlannedQuorum | None:
    if quorum is None:
        return None
    return PlannedQuorum(quorum.weight, quorum.hysteresis, quorum.below == BelowQuorum.WITHDRAW_ADDRESS)


def _members(
    members: Iterable[Member], service: AcceptedService, front: _Front, check: HealthCheck | None
) -> tuple[PlannedMember, ...]:
    """The members to which the front's packets can come.

    Where two mean the same destination, one that stays goes before one that leaves, then the first by name.
    """
    chosen: dict[tuple[str, int], Member] = {}
    every = families(service)
    fitting = (
        one
        for one in members
        if front.family in served_families(one.address, one.forwarding, every) and takes(one, front.port)
    )
    for member in sorted(fitting, key=lambda member: (member.draining_seconds is not None, member.name)):
        number = destination_port(service, own_port(member, front.port), front.port)
        chosen.setdefault((member.address, number), member)
    return tuple(
        _planned_member(member, number, check)
        for (_, number), member in sorted(chosen.items(), key=lambda item: item[1].name)
    )


def _planned_member(member: Member, port: int, check: HealthCheck | None) -> PlannedMember:
    return PlannedMember(
        name=member.name,
        address=_ip(member.address),
        port=port,
        weight=member.weight,
        method=member.forwarding.method,
        tunnel=_planned_tunnel(member.forwarding.tunnel),
        source_nat=bool(member.forwarding.source_nat),
        upper_threshold=member.upper_threshold,
        lower_threshold=member.lower_threshold,
        check=_check_target(member, port, check),
        node=member.node,
        prepared=member.prepared,
        boot_id=member.boot_id,
        refused=member.refused,
        former=None
        if member.former is None
        else FormerMethod(
            method=member.former.forwarding.method,
            timeout_seconds=member.former.timeout_seconds,
        ),
        draining_seconds=member.draining_seconds,
    )


def _planned_tunnel(tunnel: Tunnel | None) -> PlannedTunnel | None:
    if tunnel is None:
        return None
    checksum = TunnelChecksum(tunnel.checksum) if tunnel.checksum is not None else None
    return PlannedTunnel(TunnelType(tunnel.type), tunnel.port or 0, checksum)


def _check_target(member: Member, port: int, check: HealthCheck | None) -> CheckTarget | None:
    if check is None:
        return None
    number = check.port or port or member.port
    if not number:
        return None  # port 0 or a mark, and no port named: such a pool is not accepted
    what: TcpTarget | HttpTarget = TcpTarget()
    if check.http is not None:
        what = HttpTarget(
            path=check.http.path,
            host=check.http.host,
            expected_statuses=tuple(sorted(check.http.expected_statuses or ())),
        )
    return CheckTarget(
        address=_ip(member.address),
        port=number,
        what=what,
        interval_seconds=check.interval_seconds,
        timeout_seconds=check.timeout_seconds,
        rise=check.rise,
        fall=check.fall,
    )


def _ips(texts: Iterable[str] | None) -> tuple[IpAddress, ...]:
    return tuple(_ip(text) for text in texts or ())


def _ip_order(address: IpAddress) -> tuple[int, int]:
    return address.version, int(address)


@lru_cache(maxsize=65536)
def _ip(text: str) -> IpAddress:
    return ip_address(text)
