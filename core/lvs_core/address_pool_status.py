"""The public status of address pools."""

from collections.abc import Collection, Iterable, Mapping

from lvs_api.address_pool import LvsAddressPoolStatus
from lvs_api.conditions import ConditionType, Reason
from lvs_core import frontends
from lvs_core.accept import Frozen, Verdict, Withdrawn
from lvs_core.address_ranges import count, read_range
from lvs_core.cluster_view import AddressPool, ClusterView, ObjectKey, SliceContent
from lvs_core.object_status import stated, statements

_GREATEST_COUNT = 2**31 - 1
_NAMED = 3


def address_pool_statuses(
    view: ClusterView, verdicts: Mapping[ObjectKey, Verdict], slices: Iterable[SliceContent], now: str
) -> Mapping[str, LvsAddressPoolStatus]:
    """How full each is, and who finds no address in it; `slices` are all that shall be."""
    if not view.address_pools:
        return {}
    used = {address for one in slices if one.service is not None for address in frontends.vips(one.service)}
    in_vain: dict[str, list[ObjectKey]] = {}
    for key, verdict in verdicts.items():
        spec = view.services[key].spec
        if spec is None or spec.address_pool_ref is None:
            continue
        cause = verdict.problem.reason if isinstance(verdict, Frozen) else None
        if isinstance(verdict, Withdrawn):
            cause = verdict.cause
        if cause is Reason.ADDRESS_POOL_EXHAUSTED:
            in_vain.setdefault(spec.address_pool_ref.name, []).append(key)
    return {name: _status(pool, used, in_vain.get(name, ()), now) for name, pool in view.address_pools.items()}


def _status(
    pool: AddressPool, served: Collection[str], in_vain: Collection[ObjectKey], now: str
) -> LvsAddressPoolStatus:
    before, generation = pool.status, pool.meta.generation
    if pool.spec is None:
        message = pool.spec_error or ""
        facts = [
            (ConditionType.ACCEPTED, False, Reason.INVALID, f"{message}; services go on as they were"),
            (ConditionType.READY, False, Reason.INVALID, message),
        ]
        addresses, used = (before.addresses, before.used) if before is not None else (None, None)
    else:
        ranges = [read_range(one) for one in pool.spec.ranges]
        addresses = min(count(ranges), _GREATEST_COUNT)
        used = sum(any(address in one for one in ranges) for address in served)
        facts = [(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "The pool is valid")]
        if in_vain:
            named = ", ".join(str(key) for key in sorted(in_vain)[:_NAMED])
            more = f" and {len(in_vain) - _NAMED} more" if len(in_vain) > _NAMED else ""
            message = f"No address is left for {named}{more}"
            facts.append((ConditionType.READY, False, Reason.ADDRESS_POOL_EXHAUSTED, message))
        else:
            facts.append((ConditionType.READY, True, Reason.READY, "Whoever asks for an address gets one"))
    return LvsAddressPoolStatus(
        addresses=addresses,
        used=used,
        observed_generation=generation,
        conditions=stated(before.conditions if before else None, statements(facts, generation), now),
    )
