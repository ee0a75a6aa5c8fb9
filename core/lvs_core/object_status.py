"""The public status of pools, and the conditions that all kinds share."""

from collections.abc import Sequence
from dataclasses import dataclass

from lvs_api.conditions import Condition, ConditionStatus, ConditionType, Reason, set_condition
from lvs_api.real_server_pool import LvsRealServerPoolStatus
from lvs_core.cluster_view import Pool, key_of
from lvs_core.members import PoolFinder

MAX_MESSAGE = 2048
MAX_DIRECTORS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What a condition says, without its times."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str
    generation: int | None
    """The generation of the object that it speaks of; None: the same as it spoke of before."""


def stated(conditions: Sequence[Condition] | None, statements: Sequence[Statement], now: str) -> list[Condition]:
    """The conditions after these statements; those that nobody speaks of stay."""
    result = list(conditions or ())
    for one in statements:
        before = next((condition for condition in result if condition.type == one.type), None)
        generation = one.generation
        if generation is None and before is not None:
            generation = before.observed_generation
        said = (one.status, one.reason.value, one.message[:MAX_MESSAGE], generation)
        if before is not None and said == (
            before.status,
            before.reason,
            before.message,
            before.observed_generation,
        ):
            continue
        new = Condition(
            type=one.type.value,
            status=one.status,
            reason=one.reason.value,
            message=one.message[:MAX_MESSAGE],
            last_transition_time=now,
            observed_generation=generation,
        )
        result = set_condition(result, new)
    return result


def statements(facts: Sequence[tuple[ConditionType, bool, Reason, str]], generation: int | None) -> list[Statement]:
    """What holds of one generation of an object, or does not."""
    return [
        Statement(type=kind, status=truth(value), reason=reason, message=message, generation=generation)
        for kind, value, reason, message in facts
    ]


def truth(value: bool | None) -> ConditionStatus:
    """None is Unknown."""
    if value is None:
        return ConditionStatus.UNKNOWN
    return ConditionStatus.TRUE if value else ConditionStatus.FALSE


def pool_status(finder: PoolFinder, pool: Pool, services: int, now: str) -> LvsRealServerPoolStatus:
    """How many members a pool has, who uses it, and what is wrong with it."""
    generation = pool.meta.generation
    before = pool.status
    if pool.spec is None:
        members = before.members if before is not None else None
        message = pool.spec_error or ""
        facts = [
            (ConditionType.ACCEPTED, False, Reason.INVALID, f"{message}; services go on as they were"),
            (ConditionType.READY, False, Reason.INVALID, message),
        ]
    else:
        members = finder.count(key_of(pool.meta), pool.spec)
        facts = [(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "The pool is valid")]
        endpoints = pool.spec.endpoints
        if endpoints is not None and finder.core_service(key_of(pool.meta), pool.spec) is None:
            message = (
                f"spec.endpoints.serviceRef.name: there is no Service {endpoints.service_ref.name} here; create it"
            )
            facts.append((ConditionType.READY, False, Reason.SERVICE_NOT_FOUND, message))
        elif members:
            message = f"{members} real servers"
            if endpoints is not None and (last := finder.last_addresses(key_of(pool.meta), pool.spec)):
                name = endpoints.service_ref.name
                message += f", {len(last)} of them terminating: no endpoint of Service {name} is ready"
            facts.append((ConditionType.READY, True, Reason.READY, message))
        else:
            message = "spec.nodes.selector finds no Node with an InternalIP, and spec.realServers is empty"
            if endpoints is not None:
                message = f"Service {endpoints.service_ref.name} has no endpoints, and nothing else is found"
            facts.append((ConditionType.READY, False, Reason.NO_MEMBERS, message))
    return LvsRealServerPoolStatus(
        members=members,
        services=services,
        observed_generation=generation,
        conditions=stated(before.conditions if before else None, statements(facts, generation), now),
    )
