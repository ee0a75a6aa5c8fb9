"""From verdicts to slices: who is a member, where it stands, and how far it has come in joining and leaving.

Joining: a member that needs VIPs stands in its slice unprepared until its node has reported them bound and silent.
Leaving: it is draining until every available director has reported it drained, and only then taken out. What the node
carries goes last, see `node_specs`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from lvs_api.network_types import ENDPOINT_MEMBER_PREFIX, Forwarding, ForwardingMethod, Tunnel, TunnelType
from lvs_api.real_server_pool import RealServerState
from lvs_api.service_slice import MEMBERS_PER_SLICE, AcceptedPool, AcceptedService
from lvs_api.virtual_service import FirewallMark
from lvs_core import frontends
from lvs_core.accept import Accepted, Verdict, Withdrawn, is_current
from lvs_core.checks import MAX_SLICES
from lvs_core.cluster_view import ClusterView, Former, Member, ObjectKey, Slice, SliceContent
from lvs_core.directors import Directors
from lvs_core.drained import DrainReports
from lvs_core.findings import FindingsBook, Situation
from lvs_core.frontends import Place
from lvs_core.members import WantedMember, wanted_as_they_are
from lvs_core.needs import Need, member_needs, needs_for
from lvs_core.preparation import Preparation
from lvs_core.udp_flows import default_on_failure, drain_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedService:
    """The slices of one service as they shall be."""

    slices: Mapping[ObjectKey, SliceContent]
    needs: frozenset[Need]
    """What nodes must carry for it, in time for the next step too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What of a service its members depend on."""

    key: ObjectKey
    uid: str
    group: str
    service: AcceptedService
    pool: AcceptedPool
    former_vips: frozenset[str]
    """The VIPs in the slices that exist."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolver:
    """Resolves the services of one view."""

    view: ClusterView
    preparation: Preparation
    directors: Mapping[str, Directors]
    drain_reports: DrainReports
    book: FindingsBook

    def resolve(self, key: ObjectKey, verdict: Verdict) -> ResolvedService:
        """The slices of a service. One that is not accepted keeps what it has; nodes' states count all the same.

        One that is withdrawn has none, as if it had been deleted.
        """
        if isinstance(verdict, Withdrawn):
            return ResolvedService(slices={}, needs=frozenset())
        existing = tuple(one for one in self.view.slices_by_service.get(key, ()) if is_current(self.view, one))
        if isinstance(verdict, Accepted):
            return self._resolve_accepted(verdict, existing)
        members = [member for one in existing for member in one.content.members]
        first = next((one for one in existing if one.content.service is not None), None)
        if first is None or first.content.service is None or first.content.pool is None:
            return ResolvedService(slices={one.key: one.content for one in existing}, needs=frozenset())
        settings = _frozen(first, first.content.service, first.content.pool)
        directors = self.directors.get(settings.group)
        names = {*directors.selected, *directors.forwarding} if directors is not None else ()
        wanted = wanted_as_they_are(self.view, members, names, settings.service)
        return self._place(settings, existing, wanted)

    def _resolve_accepted(self, verdict: Accepted, existing: tuple[Slice, ...]) -> ResolvedService:
        candidate, wanted = verdict.candidate, verdict.candidate.members
        key = candidate.key
        situation = Situation(
            service=candidate.service,
            pool=candidate.pool,
            group=candidate.group.meta.name,
            addresses=frontends.vips(candidate.spec),
            mark=verdict.mark,
            wanted=wanted,
            slices=existing,
            standings=tuple(self.preparation.standing(one.node) for one in wanted if one.node is not None),
        )
        present = {one.key: one.content for one in existing}
        rest = self.book.rest(key, situation)
        if rest is not None:
            return ResolvedService(slices=present, needs=rest.needs)
        resolved = self._place(_accepted(verdict, existing), existing, wanted)
        if resolved.slices != present:
            return resolved
        self.book.note_rest(key, situation, resolved.needs)
        return ResolvedService(slices=present, needs=resolved.needs)  # the same, and nothing is kept twice

    def _place(self, settings: Settings, existing: Sequence[Slice], wanted: Sequence[WantedMember]) -> ResolvedService:
        slots: dict[int, list[Member]] = {0: []}
        missing = {one.name: one for one in wanted}
        taken = {_destination(settings, one): one.name for one in wanted}
        renamed = _renamed(settings, taken, existing)
        has_ports = any(member.ports for one in existing for member in one.content.members)
        places = {place for one in (wanted if has_ports else ()) for place in frontends.places(settings.service, one)}
        for one in existing:
            slot = slots.setdefault(one.content.index, [])
            for member in one.content.members:
                successor = missing.pop(renamed.get(member.name, member.name), None)
                if successor is None and (
                    _destination(settings, member) in taken or _has_no_place(settings, member, places)
                ):
                    continue  # the same destination lives on under another name: there is nothing to drain
                settled = self._settle(settings, member, successor)
                if settled is not None:
                    slot.append(settled)
        for newcomer in missing.values():
            settled = self._settle(settings, None, newcomer) if newcomer.is_ready else None
            if settled is not None:
                _find_room(slots, settled)
        slices = dict(_contents(settings, slots, existing))
        service = settings.service
        needs = {need for content in slices.values() for one in content.members for need in member_needs(one, service)}
        for asked in wanted:
            if asked.node is not None and asked.refused is None and asked.state is RealServerState.ACTIVE:
                needs.update(needs_for(asked.node, asked.address, asked.forwarding, service))
        return ResolvedService(slices=slices, needs=frozenset(needs))

    def _settle(self, settings: Settings, member: Member | None, wanted: WantedMember | None) -> Member | None:
        """The next step of one member; None: it is not, or no longer, in the slices."""
        if wanted is None or wanted.state is not RealServerState.ACTIVE:
            if member is None:
                return None
            if wanted is None:
                member = member._replace(unready=member.name.startswith(ENDPOINT_MEMBER_PREFIX))
            disabled = wanted is not None and wanted.state is RealServerState.DISABLED
            return self._leave(settings, member, 0 if disabled else _drain_seconds(settings))
        if wanted.refused is not None:
            return _member(wanted, forwarding_from=None, prepared=False, boot_id=None)
        if member is not None and member.address == wanted.address and member.node is None and wanted.node is not None:
            return self._become_node(settings, member, wanted)
        if member is None or (member.address, member.node) != (wanted.address, wanted.node):
            return self._join(settings, wanted)
        return self._keep(settings, member, wanted)

    def _leave(self, settings: Settings, member: Member, seconds: int) -> Member | None:
        if member.refused is not None or self.drain_reports.over(settings.group, settings.key, member, draining=True):
            return None
        boot = self._boot(settings, member, member)
        prepared = member.prepared and (boot is not None or not _needs(settings, member))
        return member._replace(draining_seconds=seconds, prepared=prepared, boot_id=boot if prepared else None)

    def _join(self, settings: Settings, wanted: WantedMember) -> Member:
        member = _member(wanted, forwarding_from=None, prepared=True, boot_id=None)
        if not _needs(settings, member):
            return member
        boot = self._boot(settings, member, None)
        return member._replace(prepared=boot is not None, boot_id=boot)

    def _become_node(self, settings: Settings, member: Member, wanted: WantedMember) -> Member:
        """A plain machine that joined the cluster goes on as one until its agent has reported what it carries.

        But not a director, the only one until now: others must not send it what it would balance again.
        """
        joined = self._join(settings, wanted)
        directors = self.directors.get(settings.group)
        is_director = directors is not None and wanted.node in directors.forwarding
        return joined if joined.prepared or is_director else self._keep(settings, member, wanted._replace(node=None))

    def _keep(self, settings: Settings, member: Member, wanted: WantedMember) -> Member:
        """Edits take effect in place, the method when the node is ready for it."""
        former = member.former
        if former is not None and self.drain_reports.over(settings.group, settings.key, member, draining=False):
            former = None
        asked = _member(wanted, forwarding_from=None, prepared=True, boot_id=None)
        held = _member(wanted, forwarding_from=member, prepared=True, boot_id=None)
        if asked.forwarding != held.forwarding and not self._may_switch(settings, member, asked, former):
            asked = held
        if not _same_way(asked.forwarding, member.forwarding):
            former = self._former(settings, member)
        elif former is not None and _same_way(former.forwarding, asked.forwarding):
            former = None
        if not _needs(settings, asked):
            return asked._replace(former=former)
        boot = self._boot(settings, asked, member)
        return asked._replace(former=former, prepared=boot is not None, boot_id=boot)

    def _may_switch(self, settings: Settings, member: Member, asked: Member, former: Former | None) -> bool:
        """Not before the node carries what the new method needs, nor while connections of an older one end.

        A member that cannot work by its present method has nothing to lose.
        """
        if _same_way(asked.forwarding, member.forwarding):
            return True
        if former is not None and not _same_way(former.forwarding, asked.forwarding):
            return False
        if not _needs(settings, asked) or self._boot(settings, asked, member) is not None:
            return True
        return bool(_needs(settings, member)) and self._boot(settings, member, member) is None

    def _former(self, settings: Settings, member: Member) -> Former | None:
        """What connections of the present method need: a VIP on the node, or directors that forward answers."""
        if not _needs(settings, member) and member.forwarding.method is not ForwardingMethod.MASQUERADE:
            return None
        return Former(member.forwarding, _drain_seconds(settings))

    def _boot(self, settings: Settings, member: Member, before: Member | None) -> str | None:
        """The boot in which the member's node carries what its method needs."""
        needs = _needs(settings, member)
        if member.node is None or not needs:
            return None
        same = (
            before is not None
            and before.prepared
            and before.forwarding == member.forwarding
            and settings.former_vips.issuperset(need.address for need in needs)
        )
        sticky = before.boot_id if same and before is not None else None
        return self.preparation.boot(member.node, needs, sticky_boot=sticky)


def _drain_seconds(settings: Settings) -> int:
    """What slices say, of all ports; directors take less of those of UDP."""
    return drain_seconds(settings.pool.drain, flows=False)


def _same_way(one: Forwarding, other: Forwarding) -> bool:
    """Whether packets reach a real server in the same way, whatever address they come from and what guards them."""
    return (one.method, _by(one.tunnel)) == (other.method, _by(other.tunnel))


def _by(tunnel: Tunnel | None) -> tuple[TunnelType, int | None] | None:
    return None if tunnel is None else (tunnel.type, tunnel.port)


def _needs(settings: Settings, member: Member) -> frozenset[Need]:
    """What the member's own method needs, the former one aside. A plain machine's needs are its owner's affair."""
    if member.node is None:
        return frozenset()
    return frozenset(needs_for(member.node, member.address, member.forwarding, settings.service))


def _member(wanted: WantedMember, *, forwarding_from: Member | None, prepared: bool, boot_id: str | None) -> Member:
    return Member(
        name=wanted.name,
        address=wanted.address,
        port=wanted.port,
        weight=wanted.weight,
        forwarding=wanted.forwarding if forwarding_from is None else forwarding_from.forwarding,
        upper_threshold=wanted.upper_threshold,
        lower_threshold=wanted.lower_threshold,
        node=wanted.node,
        prepared=prepared,
        boot_id=boot_id,
        refused=wanted.refused,
        former=None,
        draining_seconds=None,
        ports=wanted.ports,
        unready=not wanted.is_ready,
    )


def _destination(settings: Settings, member: Member | WantedMember) -> tuple[str, int]:
    """What tells members apart in the kernel; only in services of one port do members have ports of their own."""
    return member.address, frontends.telling_port(settings.service, member)


def _has_no_place(settings: Settings, member: Member, places: AbstractSet[Place]) -> bool:
    """Whether all that an endpoint serves is another's now, or no port of the service any more.

    No director has it in its table then, so none would report it drained.
    """
    return bool(member.ports) and all(place in places for place in frontends.places(settings.service, member))


def _renamed(settings: Settings, taken: Mapping[tuple[str, int], str], existing: Iterable[Slice]) -> Mapping[str, str]:
    """New names of members that left under one name and came under another; they keep their place and what they are."""
    present = {member.name for one in existing for member in one.content.members}
    wanted = frozenset(taken.values())
    return {
        member.name: successor
        for one in existing
        for member in one.content.members
        if member.name not in wanted
        and (successor := taken.get(_destination(settings, member))) is not None
        and successor not in present
    }


def _find_room(slots: dict[int, list[Member]], member: Member) -> None:
    """The first slice that has room. Where none has, the member waits until others have left."""
    for index in range(MAX_SLICES):
        slot = slots.setdefault(index, [])
        if len(slot) < MEMBERS_PER_SLICE:
            slot.append(member)
            return


def _contents(
    settings: Settings, slots: Mapping[int, list[Member]], existing: Iterable[Slice]
) -> Iterator[tuple[ObjectKey, SliceContent]]:
    keys = {one.content.index: one.key for one in existing}
    for index, members in sorted(slots.items()):
        if index == 0 or members:
            yield (
                keys.get(index) or _slice_key(settings, index),
                SliceContent(
                    service_name=settings.key.name,
                    service_uid=settings.uid,
                    director_group=settings.group,
                    index=index,
                    service=settings.service if index == 0 else None,
                    pool=settings.pool if index == 0 else None,
                    members=tuple(sorted(members, key=lambda member: member.name)),
                ),
            )


def _slice_key(settings: Settings, index: int) -> ObjectKey:
    """A service made anew under the same name gets slices of other names."""
    token = hashlib.sha256(settings.uid.encode()).hexdigest()[:8]
    return ObjectKey(settings.key.namespace, f"{settings.key.name}-{token}-{index}")


def _accepted(verdict: Accepted, existing: Sequence[Slice]) -> Settings:
    """Values that were validated when they were read are not validated again.

    While a service is paused its addresses, ports and mark stay those that it has: directors know by them what is
    paused, and would take away what the slices no longer name.
    """
    candidate = verdict.candidate
    spec, pool = candidate.spec, candidate.pool_spec
    served = next((one.content.service for one in existing if one.content.service is not None), None)
    named = served if spec.paused and served is not None else spec
    mark = named.firewall_mark
    if named is spec and verdict.mark is not None:
        mark = FirewallMark.model_construct(value=verdict.mark, families=None)
    return Settings(
        key=candidate.key,
        uid=candidate.service.meta.uid,
        group=candidate.group.meta.name,
        service=AcceptedService.model_construct(
            generation=candidate.service.meta.generation,
            addresses=named.addresses,
            ports=named.ports,
            firewall_mark=mark,
            scheduler=spec.scheduler,
            scheduler_flags=spec.scheduler_flags,
            persistence=spec.persistence,
            one_packet_scheduling=spec.one_packet_scheduling,
            quorum=spec.quorum,
            paused=spec.paused,
        ),
        pool=AcceptedPool.model_construct(
            name=candidate.pool.meta.name,
            generation=candidate.pool.meta.generation,
            health_check=pool.health_check,
            on_failure=pool.on_failure or default_on_failure(flows=False),
            udp_on_failure=default_on_failure(flows=True) if pool.on_failure is None else None,
            drain=pool.drain,
        ),
        former_vips=_vips(existing),
    )


def _frozen(first: Slice, service: AcceptedService, pool: AcceptedPool) -> Settings:
    return Settings(
        key=first.service_key,
        uid=first.content.service_uid,
        group=first.content.director_group,
        service=service,
        pool=pool,
        former_vips=_vips([first]),
    )


def _vips(slices: Iterable[Slice]) -> frozenset[str]:
    return frozenset(
        address for one in slices if one.content.service is not None for address in frontends.vips(one.content.service)
    )
