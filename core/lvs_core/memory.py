"""What the operator remembers between two decisions: where each director is in the sequence of views.

A director reports the digest of the view that it acted on. The operator keeps the digests of the views that it has
seen, in order, so that a report becomes a position. Losing this memory is safe: positions are then unknown until
reports match again, and addresses wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from lvs_core.cluster_view import ObjectKey
from lvs_core.findings import Findings
from lvs_core.needs import Need

KEPT_VIEWS = 1024
"""Digests kept per group; a director that is further behind brings no news until it has caught up."""


class MemberKey(NamedTuple):
    """A member of a service's slices."""

    service: ObjectKey
    member: str


class LastNeed(NamedTuple):
    """When a need was last seen in a view."""

    position: int
    services: frozenset[ObjectKey] | None
    """Whose members needed it; None: not known, it stems from before this memory began."""


class Leaving(NamedTuple):
    """Since when a member has been leaving, without a break."""

    position: int
    draining: bool
    """False: it is the connections of its former method that end."""


class Seen(NamedTuple):
    """What of a director's reports was understood."""

    digest: str
    """The last one reported."""
    known: bool
    """False: no view with this digest has been seen yet; the director may be ahead."""
    position: int | None
    """Of the latest view that it is known to have acted on."""


class ServiceChange(NamedTuple):
    """When a service's slices last changed."""

    position: int
    """In anything."""
    settings_position: int
    """In the accepted generations of the service or its pool."""
    versions: frozenset[tuple[str, int]]
    """Uid and generation of the slices."""
    settings: frozenset[tuple[int, int]]
    """The accepted generations of service and pool, as the first slice tells them."""


class Unrest(NamedTuple):
    """A virtual router of which not exactly one director reports to be Master."""

    masters: tuple[str, ...]
    """Those who do, sorted."""
    since: str
    """When that was first seen, RFC 3339."""
    is_overdue: bool
    """It has lasted for longer than reports take to come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMemory:
    """The views of one director group. Positions count from 0 and only grow."""

    digests: tuple[str, ...] = ()
    """The latest views, newest last."""
    newest: int = -1
    """Position of the newest view."""
    needs: Mapping[Need, LastNeed] = field(default_factory=lambda: MappingProxyType({}))
    """Of every VIP of a real-server node that a director may forward to, or may have forwarded to."""
    leaving: Mapping[MemberKey, Leaving] = field(default_factory=lambda: MappingProxyType({}))
    services: Mapping[ObjectKey, ServiceChange] = field(default_factory=lambda: MappingProxyType({}))
    directors: Mapping[str, Seen] = field(default_factory=lambda: MappingProxyType({}))
    told: frozenset[str] = frozenset()
    """Nodes that were told to be directors and have not said since that they no longer are."""
    unrest: Mapping[int, Unrest] = field(default_factory=lambda: MappingProxyType({}))
    """By the id of the virtual router."""

    def position_of(self, director: str) -> int | None:
        """The view of which a director's last report speaks; None where that is not known.

        One that was understood before does not count: the rest of the report, what is left over and what has drained,
        is of the view that was not.
        """
        seen = self.directors.get(director)
        return seen.position if seen is not None and seen.known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """All groups. The empty value is what an operator starts with."""

    groups: Mapping[str, GroupMemory] = field(default_factory=lambda: MappingProxyType({}))
    started: bool = False
    """False only before the first view."""
    findings: Findings = field(default_factory=Findings)
    """What need not be found out again; it decides nothing."""
