"""`kubectl lvs status` with what stands behind each line: groups, directors, services, real servers, and the reasons.

From objects only: what the directors' kernels hold is told by `kubectl lvs list`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from lvs_api.conditions import Condition, ConditionStatus, ConditionType, find_condition, timestamp
from lvs_api.director_group import (
    GroupMember,
    HandOver,
    HandOverState,
    LvsDirectorGroupSpec,
    LvsDirectorGroupStatus,
    VirtualRouterStatus,
)
from lvs_api.events import GOOD_WHEN_TRUE
from lvs_api.lvs_node import DirectorReport, LvsNodeSpec, LvsNodeStatus, NodeAddressState, ServiceException
from lvs_api.network_types import ForwardingMethod
from lvs_api.objects import ApiObject
from lvs_api.service_slice import LvsServiceSliceSpec, LvsServiceSliceStatus, SliceMember
from lvs_api.virtual_service import DirectorStatus, LvsVirtualServiceStatus
from lvs_cli.output import Branch, tree
from lvs_cli.service_words import Service, addresses_of, ports_of, why

_TOLD: Final = timedelta(hours=1)
"""So long a hand-over that came to nothing stands in the tree; in the group's status it stands until the next one."""
Group = ApiObject[LvsDirectorGroupSpec, LvsDirectorGroupStatus]
Node = ApiObject[LvsNodeSpec, LvsNodeStatus]
Slice = ApiObject[LvsServiceSliceSpec, LvsServiceSliceStatus]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objects:
    """What the tree is made from; services are those that are asked for."""

    services: Sequence[Service]
    groups: Sequence[Group]
    nodes: Sequence[Node]
    slices: Sequence[Slice]


def show_tree(objects: Objects, *, every_group: bool, now: datetime) -> str:
    """A tree for each group that serves one of the services, or for every one."""
    view = _View.of(objects, now)
    served: dict[str, list[Service]] = {name: [] for name in view.groups if every_group}
    for service in objects.services:
        served.setdefault(service.spec.director_group_ref.name, []).append(service)
    trees = [tree(view.group(name, ones)) for name, ones in sorted(served.items())]
    return "\n".join(trees) or "There is nothing to show."


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """The objects by their names."""

    groups: Mapping[str, Group]
    nodes: Mapping[str, Node]
    members: Mapping[tuple[str | None, str], Sequence[SliceMember]]
    """Of each service, sorted by name."""
    told_since: str
    """Hand-overs that came to nothing before that are history (RFC 3339)."""

    @classmethod
    def of(cls, objects: Objects, now: datetime) -> "_View":
        members: dict[tuple[str | None, str], list[SliceMember]] = {}
        for one in objects.slices:
            key = (one.metadata.namespace, one.spec.service_ref.name)
            members.setdefault(key, []).extend(one.spec.members or ())
        return cls(
            groups={one.metadata.name: one for one in objects.groups},
            nodes={one.metadata.name: one for one in objects.nodes},
            members={key: sorted(ones, key=lambda one: one.name) for key, ones in members.items()},
            told_since=timestamp(now - _TOLD),
        )

    def group(self, name: str, services: Sequence[Service]) -> Branch:
        """Its directors first, then what they serve."""
        below = [self.service(one) for one in services]
        group = self.groups.get(name)
        if group is None:
            return Branch(f"LvsDirectorGroup {name}: there is no such group", below)
        status = group.status or LvsDirectorGroupStatus()
        said = [Branch(text) for text in _troubles(status.conditions) if not text.startswith(ConditionType.READY)]
        if status.hand_over is not None and self._is_news(status.hand_over):
            one = status.hand_over
            said.append(Branch(f"hand-over {one.state} since {one.time}: {one.message}"))
        directors = [self.director(name, one, status) for one in status.directors or ()]
        ready = find_condition(status.conditions, ConditionType.READY)
        words = "not seen by the operator yet" if ready is None else _said(ready)
        return Branch(f"LvsDirectorGroup {name}: {words}", [*said, *directors, *below])

    def _is_news(self, hand_over: HandOver) -> bool:
        if hand_over.state in (HandOverState.REFUSED, HandOverState.FAILED):
            return hand_over.time >= self.told_since
        return hand_over.state is HandOverState.UNDER_WAY

    def director(self, group: str, one: GroupMember, status: LvsDirectorGroupStatus) -> Branch:
        """What a director is to the group, and what it says of itself."""
        report = self._report(one.node, group)
        own = (report.virtual_routers if report is not None else None) or ()
        words = [f"{found.state} of virtual router {found.id} ({found.family})" for found in own]
        if not own and status.active == one.node:
            words.append("active")
        if one.stands_aside is not None:
            words.append(f"stands aside ({one.stands_aside})")
        if not one.reporting:
            words.append("does not report")
        reasons = [f"virtual router {found.id} ({found.family}): {found.message}" for found in own if found.message]
        reasons += map(_master, (found for found in status.virtual_routers or () if found.active == one.node))
        node = self.nodes.get(one.node)
        reasons += _troubles(node.status.conditions if node is not None and node.status is not None else None)
        return Branch(f"director {one.node}: {', '.join(words) or 'standby'}", [Branch(text) for text in reasons])

    def service(self, service: Service) -> Branch:
        """Its directors' words of it, and its real servers."""
        meta, status = service.metadata, service.status or LvsVirtualServiceStatus()
        key = (meta.namespace, meta.name)
        directors = [self._for_service(service, one) for one in status.directors or ()]
        vips = frozenset(status.addresses or service.spec.addresses or ())
        servers = [Branch(_server(one, self.nodes, vips)) for one in self.members.get(key, ())]
        words = why(service, status) or "Ready"
        return Branch(
            f"{meta.qualified_name} {addresses_of(service)} {ports_of(service.spec)}: {words}",
            [*directors, *servers],
        )

    def _for_service(self, service: Service, one: DirectorStatus) -> Branch:
        exception = self._exception(one.node, service)
        said = one.message or (f"{exception.reason}: {exception.message}" if exception is not None else "")
        return Branch(f"director {one.node}: {one.state}{f': {said}' if said else ''}")

    def _exception(self, node: str, service: Service) -> ServiceException | None:
        found = self.nodes.get(node)
        said = (found.status.exceptions if found is not None and found.status is not None else None) or ()
        wanted = (service.metadata.namespace, service.metadata.name)
        return next((one for one in said if (one.namespace, one.name) == wanted), None)

    def _report(self, node: str, group: str) -> DirectorReport | None:
        found = self.nodes.get(node)
        said = (found.status.director_groups if found is not None and found.status is not None else None) or ()
        return next((one for one in said if one.name == group), None)


def _troubles(conditions: Sequence[Condition] | None) -> Iterator[str]:
    """What conditions say that is not as it should be."""
    for one in conditions or ():
        good = ConditionStatus.TRUE if one.type in GOOD_WHEN_TRUE else ConditionStatus.FALSE
        if one.status is not good:
            yield f"{one.type}={one.status} {_said(one)}"


def _said(condition: Condition) -> str:
    return f"{condition.reason}: {condition.message}" if condition.message else condition.reason


def _master(router: VirtualRouterStatus) -> str:
    since = f" since {router.since}" if router.since else ""
    return f"Master of virtual router {router.id}{since}{f': {router.message}' if router.message else ''}"


def _server(member: SliceMember, nodes: Mapping[str, Node], vips: frozenset[str]) -> str:
    """A real server, and what the objects know against it; its checks are the directors' to tell."""
    port = f" port {member.port}" if member.port is not None else ""
    if member.ports:
        port = f" ports {', '.join(f'{one.name} {one.port}' for one in member.ports)}"
    head = f"real server {member.name} {member.address}{port}, {member.forwarding.method}, weight {member.weight}"
    return "; ".join([head, *_against(member, nodes, vips)])


def _against(member: SliceMember, nodes: Mapping[str, Node], vips: frozenset[str]) -> Iterator[str]:
    if member.refused is not None:
        yield f"refused: {member.refused}"
        return
    if member.draining is not None:
        yield f"leaves, within {member.draining.timeout_seconds} s"
    if member.former is not None:
        yield f"connections by {member.former.forwarding.method} end, within {member.former.timeout_seconds} s"
    if member.node is None:
        if member.forwarding.method is not ForwardingMethod.MASQUERADE:
            yield "Unverified: a plain machine"
    elif not member.prepared:
        yield f"not prepared: {_unprepared(member.node, nodes, vips)}"


def _unprepared(name: str, nodes: Mapping[str, Node], vips: frozenset[str]) -> str:
    """Why a Node does not carry these addresses, in its own words; without any (a mark) all that it is to carry."""
    node = nodes.get(name)
    if node is None or node.status is None:
        return f"no agent on {name} has reported"
    told = [one for one in node.status.addresses or () if not vips or one.address in vips]
    amiss = [one for one in told if one.state is not NodeAddressState.BOUND]
    if amiss:
        said = [f"{a.address} on {a.device} {a.state}{f': {a.message}' if a.message else ''}" for a in amiss]
        return f"{name} has {', '.join(said)}"
    missing = sorted(vips - {one.address for one in told})
    return f"{name} has not reported {', '.join(missing) or 'its addresses'} of this boot yet"
