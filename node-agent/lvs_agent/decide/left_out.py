"""Which addresses of virtual routers are left out, so that the others are carried. Pure.

An address that somebody else has, or that the link was not asked for yet, is in no configuration of the VRRP daemon; by
that it costs no other address anything. keepalived heeds adverts with another list of addresses than its own, so
directors that see different things on the link still hear one another.
"""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress
from lvs_agent.decide.virtual_routers import RouterKey
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_api.conditions import Reason

FIRST_THAT_HEEDS: Final = (2, 3, 3)
"""The first keepalived that heeds adverts with another number of addresses than its own (vrrp_check_packet in vrrp.c).
Of two older ones with different lists both would be Master."""
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonLists:
    """What the VRRP daemon has been told of addresses."""

    allowed: AbstractSet[RouterKey] = frozenset()
    """Virtual routers that may carry what the daemon knows of them."""
    told: AbstractSet[IPAddress] | None = frozenset()
    """The addresses of what was told last; None: that can not be read any more."""
    held: AbstractSet[AddressBinding] = frozenset()
    """What it may put on a device before it has read what was told last."""
    remembered: AbstractSet[RouterKey] = frozenset()
    """Virtual routers of which this agent has told the addresses."""
    may_differ: bool = True
    """Whether it hears directors that have another list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of the addresses of a virtual router that it does not carry yet."""

    waiting: Fault | None = None
    """Why none of them may be carried now, whatever becomes of the others."""
    left: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """Those that must not be carried, and why."""
    is_spoken: bool = False
    """Somebody carries the virtual router: as its Backup a director takes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What comes of it."""

    waiting: Mapping[RouterKey, Fault] = field(default_factory=dict)
    """Virtual routers that must not carry anything, and why."""
    conflicts: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """Addresses that somebody else has, and that are not carried for that."""
    left_out: frozenset[AddressBinding] = frozenset()
    """What the daemon is not to be told of."""
    staying: frozenset[RouterKey] = frozenset()
    """Virtual routers that have got other addresses altogether: they go on as they are until the link was asked."""


def is_old(version: str) -> bool:
    """Whether a keepalived drops adverts with another list of addresses than its own. It says `v2.3.3`, say."""
    found = _VERSION.match(version)
    return found is not None and tuple(int(part) for part in found.groups()) < FIRST_THAT_HEEDS


def carried(
    begun: Iterable[PlacedRouter],
    admitted: AbstractSet[IPAddress],
    there: AbstractSet[AddressBinding],
    lists: DaemonLists,
) -> frozenset[IPAddress]:
    """The addresses of virtual routers that have `begun` for which nobody is asked any more before they are carried.

    They were `admitted` before, or are `there`, or the daemon was told of them by an agent that ran before. An older
    daemon is told of all at once.
    """
    found: set[IPAddress] = set()
    for one in begun:
        told = lists.told if one.key in lists.allowed else frozenset()
        is_all = told is None or not lists.may_differ
        found |= {
            binding.address
            for binding in one.bindings
            if is_all or binding in there or binding.address in admitted or (told and binding.address in told)
        }
    return frozenset(found)


def settle(placed: Iterable[PlacedRouter], verdicts: Mapping[RouterKey, Verdict], lists: DaemonLists) -> Settled:
    """What is left out, and which virtual routers wait. `placed` are sorted."""
    waiting: dict[RouterKey, Fault] = {}
    conflicts: dict[AddressBinding, Fault] = {}
    left_out: frozenset[AddressBinding] = frozenset()
    staying: frozenset[RouterKey] = frozenset()
    for _, families in groupby(placed, key=lambda one: (one.key.group, one.key.id)):
        found = _settle_one(list(families), verdicts, lists)
        waiting |= found.waiting
        conflicts |= {one: fault for one, fault in found.conflicts.items() if fault.reason is Reason.ADDRESS_CONFLICT}
        left_out |= found.left_out
        staying |= found.staying
    return Settled(waiting=waiting, conflicts=conflicts, left_out=left_out, staying=staying)


def _settle_one(routers: list[PlacedRouter], verdicts: Mapping[RouterKey, Verdict], lists: DaemonLists) -> Settled:
    """Of one virtual router, whose families move together: an address of one keeps none of the other away either.

    Only where none is left it waits, with all that it has, in Fault. With somebody who carries it a director is its
    Backup all the same.
    """
    found = {one.key: verdicts[one.key] for one in routers if one.key in verdicts}
    waiting = {key: one.waiting for key, one in found.items() if one.waiting is not None}
    conflicts = {binding: fault for key in waiting for binding, fault in found[key].left.items()}
    told = lists.allowed & lists.remembered
    staying = {one.key for one in routers if one.key in told and _is_asked_altogether(one, found)}
    judged = {key: one for key, one in found.items() if one.left and key not in waiting.keys() | staying}
    left = {binding: fault for one in judged.values() for binding, fault in one.left.items()}
    rest = {binding for one in routers for binding in one.bindings} - left.keys()
    if lists.may_differ and rest:
        if not lists.held.isdisjoint(left):
            # Allowed now, the daemon might take them before it has read that they are not in it any more.
            new = {one.key for one in routers} - lists.allowed - waiting.keys()
            waiting |= dict.fromkeys(new, _let_go(next(iter(left))))
        return Settled(
            waiting=waiting, conflicts=conflicts | left, left_out=frozenset(left), staying=frozenset(staying)
        )
    kept = {key: one for key, one in judged.items() if not one.is_spoken}
    for key, one in kept.items():
        waiting[key] = next(iter(one.left.values()))
        conflicts |= one.left
    return Settled(waiting=waiting, conflicts=conflicts, staying=frozenset(staying))


def _is_asked_altogether(one: PlacedRouter, verdicts: Mapping[RouterKey, Verdict]) -> bool:
    """Whether none of its addresses is known to be carried, and none is known to be somebody else's."""
    left = verdicts[one.key].left if one.key in verdicts else {}
    return left.keys() == set(one.bindings) and not any(
        fault.reason is Reason.ADDRESS_CONFLICT for fault in left.values()
    )


def leave_out(
    placed: Iterable[PlacedRouter], settled: Settled, before: Iterable[PlacedRouter]
) -> tuple[PlacedRouter, ...]:
    """The virtual routers without what is left out, and without those that have no other address.

    Those that stay as they are have the addresses that they had `before`, but for what another one has by now.
    """
    kept = {
        one.key: tuple(binding for binding in one.bindings if binding not in settled.left_out)
        for one in placed
        if one.key not in settled.staying
    }
    taken = {binding for bindings in kept.values() for binding in bindings}
    for one in before:
        if one.key in settled.staying:
            kept[one.key] = tuple(binding for binding in one.bindings if binding not in taken)
    return tuple(replace(one, bindings=kept[one.key]) for one in placed if kept.get(one.key))


def _let_go(binding: AddressBinding) -> Fault:
    return Fault(
        reason=Reason.PENDING,
        message=f"{binding.address} is not to be carried; the others may be once the VRRP daemon has let go of it",
    )
