"""Take a view into the memory: a new position where a group's slices changed, a new place for each director."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lvs_core.cluster_view import ClusterView, ObjectKey, Slice, SliceContent
from lvs_core.digest import slices_digest
from lvs_core.memory import (
    KEPT_VIEWS,
    GroupMemory,
    LastNeed,
    Leaving,
    MemberKey,
    Memory,
    Seen,
    ServiceChange,
)
from lvs_core.needs import Need, contents_needs, slices_needs, told_needs

BEFORE_MEMORY = -1
"""Position of what was needed before the first view."""


def observe(memory: Memory, view: ClusterView) -> Memory:
    """The memory after this view. Views must come in the order in which they were.

    Seeing every view matters for progress only: a director that reports a view which was not seen brings no news.
    """
    slices: dict[str, list[Slice]] = {name: [] for name in _group_names(memory, view)}
    for one in view.slices.values():
        slices[one.content.director_group].append(one)
    asked = _asked(view)
    before = GroupMemory() if memory.started else GroupMemory(needs=_inherited(asked))
    groups = {
        name: _follow_directors(_follow_views(memory.groups.get(name, before), ones, asked), name, view)
        for name, ones in slices.items()
    }
    return Memory(groups=groups, started=True)


def expect(memory: Memory, contents: Iterable[tuple[ObjectKey, SliceContent]]) -> Memory:
    """The memory after slices have been decided, which directors may act on before the next view is observed.

    What they need counts as needed after the newest view, for the next one may lack it again.
    """
    groups = dict(memory.groups)
    by_group: dict[str, list[tuple[ObjectKey, SliceContent]]] = {}
    for key, content in contents:
        by_group.setdefault(content.director_group, []).append((key, content))
    for name, ones in by_group.items():
        group = groups.get(name, GroupMemory())
        needs = dict(group.needs)
        for need, service, member in contents_needs(ones):
            last = needs.get(need)
            if last is None and member.prepared:
                needs[need] = LastNeed(group.newest, frozenset({service}))
            elif last is not None and last.services is not None and service not in last.services:
                needs[need] = LastNeed(max(last.position, group.newest), last.services | {service})
        if needs != group.needs:
            groups[name] = replace(group, needs=needs)
    return Memory(groups=groups, started=memory.started)


def _group_names(memory: Memory, view: ClusterView) -> Sequence[str]:
    names = {*memory.groups, *view.groups, *(one.content.director_group for one in view.slices.values())}
    for node in view.lvs_nodes.values():
        names.update(node.spec.director_groups or ())
        names.update(report.name for report in (node.status.director_groups if node.status else None) or ())
    return sorted(names)


def _asked(view: ClusterView) -> frozenset[Need]:
    """Every VIP that a LvsNode.spec names."""
    return frozenset(need for name, node in view.lvs_nodes.items() for need in told_needs(name, node.spec.addresses))


def _inherited(asked: Iterable[Need]) -> Mapping[Need, LastNeed]:
    """At the start nothing is known of why a VIP is carried: any director may forward to it."""
    return dict.fromkeys(asked, LastNeed(BEFORE_MEMORY, None))


def _follow_views(memory: GroupMemory, slices: Sequence[Slice], asked: frozenset[Need]) -> GroupMemory:
    digest = slices_digest(slices)
    if memory.digests and memory.digests[-1] == digest:
        return memory
    position = memory.newest + 1
    return GroupMemory(
        digests=(*memory.digests, digest)[-KEPT_VIEWS:],
        newest=position,
        needs=_needs(memory, position, slices, asked),
        leaving=_leaving(memory, position, slices),
        services=_services(memory, position, slices),
        directors=memory.directors,
        told=memory.told,
        unrest=memory.unrest,
    )


def _needs(
    memory: GroupMemory, position: int, slices: Iterable[Slice], asked: frozenset[Need]
) -> Mapping[Need, LastNeed]:
    """A member counts from when it was prepared, for it gets no weight before, and then until it is gone."""
    present: dict[Need, set[ObjectKey]] = {}
    for need, service, member in slices_needs(slices):
        if member.prepared or need in memory.needs:
            present.setdefault(need, set()).add(service)
    needs = {need: last for need, last in memory.needs.items() if need in asked}
    for need, services in present.items():
        last = memory.needs.get(need)
        if last is None:
            needs[need] = LastNeed(position, frozenset(services))
        else:
            needs[need] = LastNeed(position, None if last.services is None else last.services | services)
    return needs


def _leaving(memory: GroupMemory, position: int, slices: Iterable[Slice]) -> Mapping[MemberKey, Leaving]:
    leaving: dict[MemberKey, Leaving] = {}
    for one in slices:
        for member in one.content.members:
            draining = member.draining_seconds is not None
            if draining or member.former is not None:
                key = MemberKey(one.service_key, member.name)
                last = memory.leaving.get(key)
                leaving[key] = last if last and last.draining == draining else Leaving(position, draining)
    return leaving


def _services(memory: GroupMemory, position: int, slices: Iterable[Slice]) -> Mapping[ObjectKey, ServiceChange]:
    by_service: dict[ObjectKey, list[Slice]] = {}
    for one in slices:
        by_service.setdefault(one.service_key, []).append(one)
    changes: dict[ObjectKey, ServiceChange] = {}
    for key, ones in by_service.items():
        last = memory.services.get(key)
        versions = frozenset((one.meta.uid, one.meta.generation) for one in ones)
        if last is not None and last.versions == versions:
            changes[key] = last
            continue
        settings = frozenset(
            (one.content.service.generation, one.content.pool.generation)
            for one in ones
            if one.content.service is not None and one.content.pool is not None
        )
        same_settings = last is not None and last.settings == settings
        changes[key] = ServiceChange(
            position=position,
            settings_position=last.settings_position if last is not None and same_settings else position,
            versions=versions,
            settings=settings,
        )
    return changes


def _follow_directors(memory: GroupMemory, group: str, view: ClusterView) -> GroupMemory:
    directors: dict[str, Seen] = {}
    for name, node in view.lvs_nodes.items():
        for report in (node.status.director_groups if node.status else None) or ():
            if report.name == group and report.view_digest is not None:
                directors[name] = _follow(memory, memory.directors.get(name), report.view_digest)
    told = _told(memory, group, view)
    if directors == memory.directors and told == memory.told:
        return memory
    return replace(memory, directors=directors, told=told)


def _told(memory: GroupMemory, group: str, view: ClusterView) -> frozenset[str]:
    """Directors, and former ones until they have acted on a spec that no longer names the group.

    Who carried the addresses, or was told anything, and whose LvsNode somebody deleted, has not said so: its agent goes
    on as before.
    """
    status = view.groups[group].status if group in view.groups else None
    known = memory.told if status is None or status.active is None else memory.told | {status.active}
    told = {
        name for name in known - view.lvs_nodes.keys() if name in view.nodes and not view.nodes[name].out_of_service
    }
    for name, node in view.lvs_nodes.items():
        heard = node.status is not None and node.status.observed_generation == node.meta.generation
        reported = any(report.name == group for report in (node.status.director_groups if node.status else None) or ())
        named = group in (node.spec.director_groups or ())
        if named or reported or (name in memory.told and not heard):
            told.add(name)
    return frozenset(told)


def _follow(memory: GroupMemory, last: Seen | None, digest: str) -> Seen:
    """Where a director is after this report.

    The same slices may return (one was made and deleted again), and their digest with them. A director that says the
    same as before has not moved; one that says something new is at the earliest view after its last that fits, which
    may be too early but never too late. One that fits only an earlier view started again from an old state.
    """
    if last is not None and last.known and last.digest == digest:
        return last
    oldest = memory.newest - len(memory.digests) + 1
    fitting = [oldest + index for index, one in enumerate(memory.digests) if one == digest]
    position = None if last is None else last.position
    if not fitting:
        return Seen(digest, known=False, position=position)
    later = [one for one in fitting if position is None or one > position]
    return Seen(digest, known=True, position=later[0] if later else fitting[-1])
