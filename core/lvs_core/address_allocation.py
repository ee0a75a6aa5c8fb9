"""Addresses that services have from LvsAddressPools: always the same ones where they are free.

The first choice follows from the service's name, so that a restored backup finds it again. A service keeps what its
directors serve, then what its status remembers; what others name or have is not given out.
"""

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lvs_api.conditions import ConditionType, Reason, is_true
from lvs_api.network_types import Family
from lvs_api.virtual_service import AddressPoolReference
from lvs_core import frontends
from lvs_core.address_ranges import AddressRange, candidates, numbered, read_range
from lvs_core.checks import Problem
from lvs_core.cluster_view import ClusterView, ObjectKey, VirtualService
from lvs_core.permissions import Permissions

Allocation = tuple[str, ...] | Problem
"""The addresses of a service, or why it has none."""


def allocate_addresses(
    view: ClusterView, permissions: Permissions, refused: Container[ObjectKey]
) -> Mapping[ObjectKey, Allocation]:
    """The addresses of every service that asks a pool for them; `refused` are those that any address would not help."""
    asking = [
        key
        for key, service in view.services.items()
        if service.spec is not None
        and service.spec.address_pool_ref is not None
        and service.meta.deletion_timestamp is None
    ]
    if not asking:
        return {}
    allocator = _Allocator(view, permissions, refused)
    return {key: allocator.give(key) for key in sorted(asking, key=allocator.rank)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """A service that asks a pool for an address of a family."""

    key: ObjectKey
    pool: str
    ranges: tuple[AddressRange, ...]
    family: Family
    unusable: frozenset[str]
    """Its own real servers."""


class _Allocator:
    """Who has what, and what has been given in this round."""

    def __init__(self, view: ClusterView, permissions: Permissions, refused: Container[ObjectKey]) -> None:
        self._view = view
        self._permissions = permissions
        self._refused = refused
        self._given: dict[str, ObjectKey] = {}
        self._served: dict[ObjectKey, list[str]] = {}
        self._claimed: dict[str, set[ObjectKey]] = {}
        """Addresses that services have or name, explicitly or by what they were accepted with."""
        self._claimants: set[ObjectKey] = set()
        self._used_up: set[tuple[str, Family]] = set()
        """Pools of which no address is left for whoever has none."""
        for one in view.slices.values():
            service = view.services.get(one.service_key)
            vips = frontends.vips(one.content.service) if one.content.service is not None else ()
            self._claim(vips, one.service_key)  # one made anew under its name waits for it
            if service is not None and service.meta.uid == one.content.service_uid:
                self._served.setdefault(one.service_key, []).extend(vips)
        for key, service in view.services.items():
            named = frontends.vips(service.spec) if service.spec is not None else ()
            self._claim((one for one in named if permissions.address(key.namespace, one)), key)
            self._claim(_remembered(service), key)

    def rank(self, key: ObjectKey) -> tuple[int, str, str]:
        """What is served goes first, then what is remembered, then the older object; who is refused takes what is left.

        Else services that never come to be would keep others from their addresses.
        """
        service = self._view.services[key]
        order = 0 if self._served.get(key) else 1 if _remembered(service) else 3 if key in self._refused else 2
        return order, service.meta.creation_timestamp or "", service.meta.uid

    def give(self, key: ObjectKey) -> Allocation:
        """The addresses of one service."""
        spec = self._view.services[key].spec
        reference = spec.address_pool_ref if spec is not None else None
        if spec is None or reference is None:
            raise ValueError(f"{key} asks for no address of a pool")
        ranges = self._ranges(key, reference)
        if isinstance(ranges, Problem):
            return ranges
        real_servers = frozenset(self._real_servers(ObjectKey(key.namespace, spec.real_server_pool_ref.name)))
        found: list[str] = []
        for family in self._families(key, reference, ranges):
            if all(one.family is not family for one in ranges):
                return _without_family(reference.name, family)
            request = _Request(
                key=key,
                pool=reference.name,
                ranges=ranges,
                family=family,
                unusable=real_servers,
            )
            address = self._choose(request)
            if address is None:
                return _exhausted(request)
            found.append(address)
        self._given.update(dict.fromkeys(found, key))
        return tuple(found)

    def _real_servers(self, key: ObjectKey) -> Iterator[str]:
        """The addresses of a pool's real servers; those of Nodes are given to nobody anyway."""
        pool = self._view.pools.get(key)
        if pool is None or pool.spec is None:
            return
        yield from (one.address for one in pool.spec.real_servers)
        if pool.spec.endpoints is not None:
            core = ObjectKey(key.namespace, pool.spec.endpoints.service_ref.name)
            for one in self._view.endpoint_slices.get(core, ()):
                yield from (endpoint.address for endpoint in one.endpoints)

    def _ranges(self, key: ObjectKey, reference: AddressPoolReference) -> tuple[AddressRange, ...] | Problem:
        pool = self._view.address_pools.get(reference.name)
        where = f"spec.addressPoolRef.name: LvsAddressPool {reference.name}"
        if pool is None:
            message = f"{where} does not exist; name another, or ask for it"
            return _unresolved(Reason.ADDRESS_POOL_NOT_FOUND, message)
        if pool.spec is None:
            return _unresolved(Reason.INVALID, f"{where} is invalid: {pool.spec_error}")
        if not self._permissions.covers(pool, key.namespace):
            known = self._view.address_pools_known
            return Problem(
                condition=ConditionType.ACCEPTED,
                reason=Reason.NOT_PERMITTED if known else Reason.CRD_MISSING,
                message=f"{where} is not for namespace {key.namespace}; name another, or ask for it",
            )
        return tuple(read_range(one) for one in pool.spec.ranges)

    def _families(
        self, key: ObjectKey, reference: AddressPoolReference, ranges: tuple[AddressRange, ...]
    ) -> list[Family]:
        """Those that are asked for, else the one that it has, else that of the first range."""
        if reference.families:
            return sorted(reference.families)
        has = [numbered(one)[0] for one in self._has(key) if any(one in span for span in ranges)]
        return [has[0] if has else ranges[0].family]

    def _has(self, key: ObjectKey) -> list[str]:
        return [*self._served.get(key, ()), *_remembered(self._view.services[key])]

    def _choose(self, request: _Request) -> str | None:
        """What is best for it.

        Where nothing was left for one that none of its own real servers kept from it, nothing is for others that have
        or name no address yet, and is not sought for each of them anew.
        """
        pool = (request.pool, request.family)
        if pool in self._used_up and request.key not in self._claimants:
            return None
        address = next(self._choices(request), None)
        if address is None and not any(one in span for one in request.unusable for span in request.ranges):
            self._used_up.add(pool)
        return address

    def _choices(self, request: _Request) -> Iterator[str]:
        """What it may have, the best first."""
        for address in self._has(request.key):
            family = numbered(address)[0]
            if (
                family is request.family
                and address not in self._given
                and any(address in one for one in request.ranges)
            ):
                yield address
        for address in candidates(request.ranges, request.family, _digest(request.key)):
            if self._is_free(address, request):
                yield address

    def _is_free(self, address: str, request: _Request) -> bool:
        return (
            address not in self._given
            and self._claimed.get(address, set()) <= {request.key}
            and address not in self._view.nodes_by_address
            and address not in request.unusable
        )

    def _claim(self, addresses: Iterable[str], key: ObjectKey) -> None:
        for address in addresses:
            self._claimed.setdefault(address, set()).add(key)
            self._claimants.add(key)


def _remembered(service: VirtualService) -> list[str]:
    """The addresses with which it was accepted, by its status."""
    status = service.status
    if status is None or not is_true(status.conditions, ConditionType.ACCEPTED):
        return []
    return list(status.addresses or ())


def _digest(key: ObjectKey) -> int:
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest(), "big")


def _unresolved(reason: Reason, message: str) -> Problem:
    return Problem(condition=ConditionType.RESOLVED_REFS, reason=reason, message=message)


def _without_family(pool: str, family: Family) -> Problem:
    """It is the service that asks for the wrong thing; the pool is not used up."""
    return _unresolved(
        Reason.FAMILY_MISMATCH,
        f"spec.addressPoolRef.families: LvsAddressPool {pool} has no {family} range; take {family} out, or name a pool "
        "that has one",
    )


def _exhausted(request: _Request) -> Problem:
    return Problem(
        condition=ConditionType.ACCEPTED,
        reason=Reason.ADDRESS_POOL_EXHAUSTED,
        message=f"spec.addressPoolRef.name: LvsAddressPool {request.pool} has no {request.family} address left; delete "
        "services that have some, name another pool, or ask for a wider range",
    )
