"""What LvsAddressPools permit to the services of a namespace: addresses, marks and real servers.

Without a pool everything is permitted, unless the operator requires one; with at least one, what none permits is not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from lvs_api.conditions import ConditionType, Reason
from lvs_api.network_types import LabelSelector
from lvs_api.virtual_service import LvsVirtualServiceSpec
from lvs_core import frontends
from lvs_core.address_ranges import AddressRange, read_range
from lvs_core.checks import Problem, address_field
from lvs_core.cluster_view import AddressPool, ClusterView, Slice
from lvs_core.selectors import selects

NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server gives it to every Namespace."""
_NAMED: Final = 3


class Asked(NamedTuple):
    """One thing that needs a permission."""

    what: str | int
    """An address, or a mark."""
    field: str
    """Which field names it, for messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wants:
    """What a service asks for, or has."""

    addresses: tuple[Asked, ...] = ()
    mark: Asked | None = None
    """One that somebody else sets; those that the operator chooses are nobody's."""
    real_servers: tuple[Asked, ...] = ()


class _Scope(NamedTuple):
    """What the pools of a namespace permit together."""

    addresses: tuple[AddressRange, ...]
    real_servers: tuple[AddressRange, ...]
    marks: frozenset[int]


def wants_of(spec: LvsVirtualServiceSpec, real_servers: Iterable[tuple[str, str]]) -> Wants:
    """What a service whose addresses are chosen asks for; of real servers name and address."""
    mark = spec.firewall_mark
    return Wants(
        addresses=tuple(
            Asked(address, address_field(spec, index)) for index, address in enumerate(frontends.vips(spec))
        ),
        mark=None if mark is None else Asked(mark.value, "spec.firewallMark.value"),
        real_servers=tuple(Asked(address, f"real server {name}") for name, address in real_servers),
    )


def running(slices: Iterable[Slice]) -> Wants:
    """What a service has, by its slices; without the real servers that leave."""
    addresses: list[Asked] = []
    real_servers: list[Asked] = []
    mark = None
    for one in slices:
        accepted = one.content.service
        if accepted is not None:
            addresses += (Asked(address, "what is served") for address in frontends.vips(accepted))
            if accepted.firewall_mark is not None and not frontends.is_grouped(accepted):
                mark = Asked(accepted.firewall_mark.value, "what is served")
        real_servers += (
            Asked(member.address, f"real server {member.name}")
            for member in one.content.members
            if member.draining_seconds is None
        )
    return Wants(addresses=tuple(addresses), mark=mark, real_servers=tuple(real_servers))


class Permissions:
    """Of one view; what a namespace may is found once."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._scopes: dict[str, _Scope] = {}

    @property
    def in_force(self) -> bool:
        """Whether anything needs a permission."""
        view = self._view
        return bool(view.address_pools) or view.address_pools_required or not view.address_pools_known

    def covers(self, pool: AddressPool, namespace: str) -> bool:
        """Whether a pool is for a namespace; one that cannot be read is for none."""
        if pool.spec is None:
            return False
        whose = pool.spec.namespaces
        if whose.selector is None:
            return namespace in (whose.names or ())
        known = self._view.namespaces.get(namespace)
        if known is not None:
            return selects(whose.selector, known.labels)
        return _asks_for_names_only(whose.selector) and selects(whose.selector, {NAME_LABEL: namespace})

    def address(self, namespace: str, address: str) -> bool:
        """Whether services of a namespace may have an address."""
        return not self.in_force or _is_in(address, self._scope(namespace).addresses)

    def real_server(self, namespace: str, address: str, served: Wants) -> bool:
        """Whether one machine may take connections of a namespace's services; as `problem` has it."""
        return self.problem(namespace, Wants(real_servers=(Asked(address, "real server"),)), served) is None

    def problem(self, namespace: str, wanted: Wants, served: Wants) -> Problem | None:
        """Why a service may not be as it is wanted.

        Where something is not known of the pools (one cannot be read, say), what is served goes on, and nothing comes
        to it.
        """
        if not self.in_force:
            return None
        lacking = list(self._lacking(namespace, wanted))
        if not lacking:
            return None
        doubt = self._doubt()
        if doubt is None:
            return _refused(Reason.NOT_PERMITTED, f"{_says(namespace, lacking)}{self._why_none()}")
        served_already = {one.what for one in (*served.addresses, *served.real_servers, served.mark) if one is not None}
        new = [one for one in lacking if one.what not in served_already]
        reason, why = doubt
        return _refused(reason, f"{_says(namespace, new)}; {why}") if new else None

    def _lacking(self, namespace: str, wanted: Wants) -> Iterator[Asked]:
        scope = self._scope(namespace)
        yield from (one for one in wanted.addresses if not _is_in(one.what, scope.addresses))
        if wanted.mark is not None and wanted.mark.what not in scope.marks:
            yield wanted.mark
        yield from (one for one in wanted.real_servers if not _is_in(one.what, scope.real_servers))

    def _doubt(self) -> tuple[Reason, str] | None:
        """What is not known of the pools."""
        if not self._view.address_pools_known:
            return Reason.CRD_MISSING, "whether another one does is not known while the CRDs are not whole"
        for name, pool in self._view.address_pools.items():
            if pool.spec is None:
                return Reason.INVALID, f"what LvsAddressPool {name} permits is not known: {pool.spec_error}"
        return None

    def _why_none(self) -> str:
        """What to do where no pool can permit anything, for there is none."""
        if self._view.address_pools:
            return ""
        return (
            "; there is none, and the operator requires one (--require-address-pool): make one that has it in its "
            "ranges, realServerRanges or firewallMarks"
        )

    def _scope(self, namespace: str) -> _Scope:
        found = self._scopes.get(namespace)
        if found is None:
            specs = [
                pool.spec
                for pool in self._view.address_pools.values()
                if pool.spec is not None and self.covers(pool, namespace)
            ]
            found = _Scope(
                addresses=tuple(read_range(one) for spec in specs for one in spec.ranges),
                real_servers=tuple(read_range(one) for spec in specs for one in spec.real_server_ranges),
                marks=frozenset(mark for spec in specs for mark in spec.firewall_marks or ()),
            )
            self._scopes[namespace] = found
        return found


def _asks_for_names_only(selector: LabelSelector) -> bool:
    """Whether a Namespace that has not been seen yet can be judged: that a label is not known of it is not its lack."""
    return all(one.key == NAME_LABEL for one in selector.match_expressions or ())


def _is_in(address: str | int, ranges: Iterable[AddressRange]) -> bool:
    return any(address in one for one in ranges)


def _says(namespace: str, lacking: list[Asked]) -> str:
    named = ", ".join(f"{one.field}: {one.what}" for one in lacking[:_NAMED])
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"{named}{more}: no LvsAddressPool permits this to namespace {namespace}"


def _refused(reason: Reason, message: str) -> Problem:
    return Problem(condition=ConditionType.ACCEPTED, reason=reason, message=message)
