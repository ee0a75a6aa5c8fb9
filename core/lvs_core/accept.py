"""Which services are accepted, which stay frozen as they run, and which have to wait."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple

from lvs_api.conditions import ConditionType, Reason, find_condition, is_true
from lvs_api.network_types import Family, Protocol
from lvs_core import frontends
from lvs_core.address_allocation import allocate_addresses
from lvs_core.allocate import FIRST_MARK, LAST_MARK, choose_mark
from lvs_core.checks import (
    Candidate,
    Problem,
    References,
    address_field,
    first_candidate_problem,
    first_reference_problem,
)
from lvs_core.cluster_view import ClusterView, DirectorGroup, ObjectKey, Slice, VirtualService
from lvs_core.directors import Directors
from lvs_core.endpoint_checks import first_endpoint_problem
from lvs_core.findings import Basis, Finding, FindingsBook
from lvs_core.frontends import Frontend
from lvs_core.members import GroupDirectors, PoolFinder
from lvs_core.permissions import Permissions, running, wants_of


class Claim(NamedTuple):
    """What only one service can have."""

    address: str
    port: int
    protocol: Protocol


class MarkClaim(NamedTuple):
    """What only one service of a director group can have: marks mean something on the group's directors only."""

    group: str
    mark: int
    family: Family


AnyClaim = Claim | MarkClaim


class Holder(NamedTuple):
    """Who has a claim, by its slices."""

    service: ObjectKey
    uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The service shall be as its objects say."""

    candidate: Candidate
    mark: int | None = None
    """The firewall mark chosen for it, where its ports are grouped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frozen:
    """Its objects are wrong or missing: what runs goes on as it was last accepted, what does not run does not start."""

    problem: Problem
    references_found: bool = True
    """What it refers to is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawn:
    """No LvsAddressPool permits what its objects say, or what runs of it: it is taken away."""

    problem: Problem
    cause: Reason
    """What is wrong at present; it is another one than NotPermitted where that was said of it before."""
    references_found: bool = True
    """What it refers to is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Nothing is wrong; something must happen first."""

    message: str


Verdict = Accepted | Frozen | Withdrawn | Waiting


def is_current(view: ClusterView, one: Slice) -> bool:
    """Whether the service that owns a slice is there and is not being deleted."""
    service = view.services.get(one.service_key)
    return (
        service is not None and service.meta.uid == one.content.service_uid and service.meta.deletion_timestamp is None
    )


def judge(
    view: ClusterView, finder: PoolFinder, directors: Mapping[str, Directors], book: FindingsBook
) -> Mapping[ObjectKey, Verdict]:
    """A verdict for every service that is not being deleted."""
    permissions = Permissions(view)
    by_group = {name: _group_directors(view, group, directors[name]) for name, group in view.groups.items()}
    asking = {
        key: _references(view, key, service)
        for key, service in view.services.items()
        if service.meta.deletion_timestamp is None
    }
    unresolved = {
        key: problem for key, refs in asking.items() if (problem := first_reference_problem(refs)) is not None
    }
    withdrawn = {key for key, refs in asking.items() if _is_withdrawn(refs.service)}
    allocated = allocate_addresses(view, permissions, withdrawn | unresolved.keys())
    verdicts: dict[ObjectKey, Verdict] = {}
    candidates: list[Candidate] = []
    for key, refs in asking.items():
        problem = unresolved.get(key)
        references_found, chosen = problem is None, allocated.get(key)
        if isinstance(chosen, Problem):
            problem = problem or chosen
        candidate = None
        if problem is None and not isinstance(chosen, Problem):
            candidate, own_problem = _candidate(finder, by_group, refs, chosen, book)
            candidate, not_permitted = _judge_permissions(permissions, candidate)
            problem = not_permitted or own_problem
        if problem is not None:
            verdicts[key] = _refused(view, permissions, key, problem, references_found=references_found)
        elif candidate is not None:
            candidates.append(candidate)
    held = _Held(view, frozenset(key for key, verdict in verdicts.items() if isinstance(verdict, Withdrawn)))
    for candidate in sorted(candidates, key=held.rank):
        verdict = held.claim(candidate)
        if isinstance(verdict, Frozen):
            verdict = _refused(view, permissions, candidate.key, verdict.problem, references_found=True)
        verdicts[candidate.key] = verdict
    return dict(sorted(verdicts.items()))


def _judge_permissions(permissions: Permissions, candidate: Candidate) -> tuple[Candidate, Problem | None]:
    """What leaves needs no permission: nothing new comes to it. One that is not ready does, for it is to come.

    One that terminates does not get connections for want of a ready one where it has none: it drains.
    """
    if not permissions.in_force:
        return candidate, None
    view, key, spec = candidate.view, candidate.key, candidate.spec
    served = running(one for one in view.slices_by_service.get(key, ()) if is_current(view, one))
    last = (one for one in candidate.members if one.is_last)
    barred = {one.name for one in last if not permissions.real_server(key.namespace, one.address, served)}
    if barred:
        members = tuple(one.drained() if one.name in barred else one for one in candidate.members)
        candidate = replace(candidate, members=members)
    wanted = wants_of(spec, ((one.name, one.address) for one in candidate.members if not one.leaves))
    return candidate, permissions.problem(key.namespace, wanted, served)


def _refused(
    view: ClusterView, permissions: Permissions, key: ObjectKey, problem: Problem, *, references_found: bool
) -> Frozen | Withdrawn:
    """Frozen, unless what is refused, or what runs of it, is not permitted.

    What was withdrawn stays so until it can be accepted: directors that see its slices go ask for that word.
    """
    cause = problem.reason
    if cause is not Reason.NOT_PERMITTED:
        references_found = references_found and problem.condition is not ConditionType.RESOLVED_REFS
        slices = [one for one in view.slices_by_service.get(key, ()) if is_current(view, one)]
        served = running(slices)
        revoked = permissions.problem(key.namespace, served, served)
        if revoked is None and (slices or not _is_withdrawn(view.services[key])):
            return Frozen(problem=problem, references_found=references_found)
        refused = replace(problem, condition=ConditionType.ACCEPTED, reason=Reason.NOT_PERMITTED)
        problem = revoked or refused
    return Withdrawn(problem=problem, cause=cause, references_found=references_found)


def _is_withdrawn(service: VirtualService) -> bool:
    said = find_condition(service.status.conditions if service.status is not None else None, ConditionType.ACCEPTED)
    return said is not None and said.reason == Reason.NOT_PERMITTED


def _references(view: ClusterView, key: ObjectKey, service: VirtualService) -> References:
    spec = service.spec
    group = spec.director_group_ref.name if spec is not None else ""
    pool = ObjectKey(key.namespace, spec.real_server_pool_ref.name if spec is not None else "")
    return References(
        key=key,
        service=service,
        group_name=group,
        group=view.groups.get(group),
        pool_key=pool,
        pool=view.pools.get(pool),
    )


def _candidate(
    finder: PoolFinder,
    directors: Mapping[str, GroupDirectors],
    refs: References,
    chosen: Sequence[str] | None,
    book: FindingsBook,
) -> tuple[Candidate, Problem | None]:
    """A service whose references were found, and what its own objects say wrong.

    `chosen` are the addresses of a service that has them from a LvsAddressPool.
    """
    view, spec, group, pool = finder.view, refs.service.spec, refs.group, refs.pool
    if spec is None or group is None or pool is None or pool.spec is None:
        raise ValueError(f"{refs.key} was not looked at for missing references")
    if chosen is not None:
        spec = spec.model_copy(update={"addresses": list(chosen)})
    served = served_addresses(view, refs.key)
    basis = Basis(
        service=refs.service,
        pool=pool,
        group=group,
        directors=directors[refs.group_name],
        addresses=chosen,
        served=served,
        core_service=finder.core_service(refs.pool_key, pool.spec),
        endpoint_slices=finder.endpoint_slices(refs.pool_key, pool.spec),
    )
    known = book.finding(refs.key, basis)
    candidate = Candidate(
        key=refs.key,
        service=refs.service,
        spec=spec,
        group=group,
        pool=pool,
        pool_spec=pool.spec,
        members=known.members if known else finder.find(refs.pool_key, pool.spec, spec, basis.directors),
        view=view,
        served=served,
    )
    if known is None:
        problem = first_endpoint_problem(candidate) or first_candidate_problem(candidate)
        known = book.note(refs.key, Finding(basis, candidate.members, problem))
    return candidate, known.problem


def _group_directors(view: ClusterView, group: DirectorGroup, who: Directors) -> GroupDirectors:
    names = frozenset(who.selected).union(who.forwarding)
    statuses = (view.lvs_nodes[name].status for name in names & view.lvs_nodes.keys())
    return GroupDirectors(
        names=names,
        synchronize=group.spec is not None and group.spec.connection_sync is not None,
        own=frozenset[str]().union(*(one.own_addresses or () for one in statuses if one is not None)),
    )


def served_addresses(view: ClusterView, key: ObjectKey) -> frozenset[str]:
    """The addresses that the slices of a service serve."""
    return frozenset(
        address
        for one in view.slices_by_service.get(key, ())
        if one.content.service is not None and is_current(view, one)
        for address in frontends.vips(one.content.service)
    )


def _claims(group: str, service: Frontend) -> Iterator[AnyClaim]:
    for address in frontends.vips(service):
        for port in frontends.ports(service):
            yield Claim(address, port.port, port.protocol)
    if service.firewall_mark is not None:
        for family, _ in frontends.marked_families(service):
            yield MarkClaim(group, service.firewall_mark.value, family)


class _Held:
    """Who holds what: by slices first, for they are what directors serve, then in the order of judgement."""

    def __init__(self, view: ClusterView, withdrawn: AbstractSet[ObjectKey]) -> None:
        self._claims: dict[AnyClaim, Holder] = {}
        self._groups: dict[str, tuple[str, Holder]] = {}
        self._holders: set[Holder] = set()
        self._leftover: dict[AnyClaim, Holder] = {}
        self._chosen: dict[Holder, int] = {}
        self._marks = {
            service.spec.firewall_mark.value
            for service in view.services.values()
            if service.spec is not None and service.spec.firewall_mark is not None
        }
        for one in view.slices.values():
            if one.content.service is None:
                continue
            holder = Holder(one.service_key, one.content.service_uid)
            current = is_current(view, one) and one.service_key not in withdrawn
            for claim in _claims(one.content.director_group, one.content.service):
                (self._claims if current else self._leftover).setdefault(claim, holder)
            mark = one.content.service.firewall_mark
            if mark is not None:
                self._marks.add(mark.value)
            if current:
                self._holders.add(holder)
                if mark is not None and frontends.is_grouped(one.content.service):
                    self._chosen.setdefault(holder, mark.value)
                for address in frontends.vips(one.content.service):
                    self._groups.setdefault(address, (one.content.director_group, holder))

    def rank(self, candidate: Candidate) -> tuple[int, str, str]:
        """Who holds all that it claims goes first, then the older object, then the smaller uid.

        Without slices, after a restore say, an accepted status holds.
        """
        holder = Holder(candidate.key, candidate.service.meta.uid)
        status = candidate.service.status
        claims = _claims(candidate.group.meta.name, candidate.spec)
        if all(self._claims.get(claim) == holder for claim in claims):
            order = 0
        elif (
            holder not in self._holders
            and status is not None
            and is_true(status.conditions, ConditionType.ACCEPTED)
            and set(frontends.vips(candidate.spec)) <= set(status.addresses or ())
            and (candidate.spec.firewall_mark is None or candidate.spec.firewall_mark.value == status.firewall_mark)
        ):
            order = 1
        else:
            order = 2
        return order, candidate.service.meta.creation_timestamp or "", candidate.service.meta.uid

    def claim(self, candidate: Candidate) -> Verdict:
        """Accept the service and let it hold what it claims, unless another holds a part of it."""
        own = Holder(candidate.key, candidate.service.meta.uid)
        group = candidate.group.meta.name
        claims = list(_claims(group, candidate.spec))
        for claim in claims:
            holder = self._claims.get(claim, own)
            if holder != own:
                return Frozen(problem=_duplicate(candidate, claim, holder))
        for address in frontends.vips(candidate.spec):
            there, holder = self._groups.get(address, (group, own))
            if there != group:
                return Frozen(problem=_elsewhere(candidate, address, there, holder))
        for claim in claims:
            if claim in self._leftover:
                left = self._leftover[claim]
                return Waiting(message=f"waits until the directors' copy of the service {left.service} is gone")
        mark = self._choose_mark(candidate, own) if frontends.is_grouped(candidate.spec) else None
        if mark is not None:
            claims += [MarkClaim(group, mark, family) for family in frontends.families(candidate.spec)]
        elif frontends.is_grouped(candidate.spec):
            return Waiting(message=f"waits for a firewall mark: all of {FIRST_MARK} to {LAST_MARK} are taken")
        self._claims.update(dict.fromkeys(claims, own))
        for address in frontends.vips(candidate.spec):
            self._groups[address] = (group, own)
        return Accepted(candidate=candidate, mark=mark)

    def _choose_mark(self, candidate: Candidate, own: Holder) -> int | None:
        """The one that directors find it by already, else the one that its status tells of, else a free one."""
        mark = self._chosen.get(own)
        if mark is None:
            status = candidate.service.status
            told = [status.firewall_mark] if status is not None and status.firewall_mark is not None else []
            mark = choose_mark(candidate.key, self._marks, told)
        if mark is not None:
            self._marks.add(mark)
        return mark


def _duplicate(candidate: Candidate, claim: AnyClaim, holder: Holder) -> Problem:
    if isinstance(claim, MarkClaim):
        message = (
            f"spec.firewallMark: mark {claim.mark} for {claim.family} belongs to LvsVirtualService {holder.service} in "
            f"LvsDirectorGroup {claim.group}; use another mark, or delete that one"
        )
    else:
        name = next(
            port.name
            for port in frontends.ports(candidate.spec)
            if port.port == claim.port and port.protocol == claim.protocol
        )
        message = (
            f"spec.ports[{name}]: {claim.address} port {claim.port}/{claim.protocol} belongs to "
            f"LvsVirtualService {holder.service}; use another address or port, or delete that one"
        )
    return Problem(condition=ConditionType.ACCEPTED, reason=Reason.CONFLICT, message=message)


def _elsewhere(candidate: Candidate, address: str, group: str, holder: Holder) -> Problem:
    index = frontends.vips(candidate.spec).index(address)
    return Problem(
        condition=ConditionType.ACCEPTED,
        reason=Reason.CONFLICT,
        message=f"{address_field(candidate.spec, index)}: {address} is carried by the directors of LvsDirectorGroup "
        f"{group} for {holder.service}, and no address can be in two groups; use another address, or that group",
    )
