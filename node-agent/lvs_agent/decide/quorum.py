"""Whether enough of a service's real servers are in use, and which addresses are not carried where they are not. Pure.

Quorum is that of keepalived: lost when the weights in use fall below `weight - hysteresis`, and had again when they
reach `weight + hysteresis`. Unknown is not down: what has not been checked yet does not lose it, but does not bring it
back either; nor does a real server that drains lose it before its connections have ended.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lvs_agent.decide.kernel_state import AnyServiceKey, IPAddress
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_api.conditions import Reason
from lvs_api.lvs_node import LvsNodeStatus
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import DirectorPlan, Holding, PlannedQuorum


class WeightInUse(NamedTuple):
    """The weights of one kernel service's real servers, added up."""

    sure: int
    """Of those that get new connections."""
    possible: int
    """And of those of which nothing is known yet, or whose drain is not over."""
    draining: int = 0
    """Of those alone that have been in the kernel and whose drain is not over."""


class QuorumNow(NamedTuple):
    """How a kernel service stands to its quorum."""

    is_met: bool
    in_use: int
    """The sum of weights."""
    needed: int
    """Below it, or short of it, `in_use` is when quorum is not met."""


def step_quorum(before: bool | None, in_use: WeightInUse, quorum: PlannedQuorum) -> QuorumNow:
    """Whether the service has its quorum; `before` None: nothing was said of it yet.

    Then what has weight, or had it and drains, decides, by the lower threshold: a restarted agent finds it as it was,
    and a new service has none before its real servers are known.
    """
    low, high = quorum.weight - quorum.hysteresis, quorum.weight + quorum.hysteresis
    if before is None:
        return QuorumNow(in_use.sure + in_use.draining >= low, in_use.sure, low)
    if before:
        return QuorumNow(in_use.possible >= low, in_use.sure, low)
    return QuorumNow(in_use.sure >= high, in_use.sure, high)


def told_below(status: LvsNodeStatus | None, boot_id: str) -> frozenset[ObjectKey]:
    """Services that this agent, before it was restarted, has called below quorum."""
    if status is None or status.boot_id != boot_id:
        return frozenset()
    return frozenset(
        ObjectKey(one.namespace, one.name) for one in status.exceptions or () if one.reason == Reason.BELOW_QUORUM
    )


def withdrawn_addresses(prepared: PreparedPlan, met: Mapping[AnyServiceKey, bool]) -> frozenset[IPAddress]:
    """VIPs that this director does not carry for want of quorum; `met` is what is known of kernel services.

    An address is left only where nobody wants it: every port of every service of it is below a quorum with
    WithdrawAddress. By VRRP all addresses of a virtual router go together, so only where that is so of each of them;
    and not where it carries a gateway's address, by which real servers reach what they need to be well again.
    """
    unwanted = _unwanted(prepared, met)
    refused = prepared.refusals.left_out
    found: set[IPAddress] = set()
    for director in prepared.plan.directing:
        if director.holding is not Holding.VRRP:
            found |= unwanted.intersection(director.addresses)
            continue
        for addresses in _virtual_routers(director):
            if unwanted and addresses - refused <= unwanted:
                found |= addresses & unwanted
    return frozenset(found)


def _unwanted(prepared: PreparedPlan, met: Mapping[AnyServiceKey, bool]) -> set[IPAddress]:
    unwanted: dict[IPAddress, bool] = {}
    for one in prepared.services:
        vip, quorum = one.planned.vip, one.planned.quorum
        if vip is not None:
            is_below = quorum is not None and quorum.withdraws and not met.get(one.key, True)
            unwanted[vip] = unwanted.get(vip, True) and is_below
    return {vip for vip, is_so in unwanted.items() if is_so}


def _virtual_routers(director: DirectorPlan) -> Iterable[frozenset[IPAddress]]:
    """The addresses of each, of both families: they move together."""
    found: dict[int, frozenset[IPAddress]] = {}
    for router in director.vrrp.routers if director.vrrp is not None else ():
        found[router.id] = found.get(router.id, frozenset()).union(router.addresses)
    return found.values()


def below_quorum(
    quorums: Iterable[tuple[IPAddress | None, QuorumNow | None]],
) -> Iterator[tuple[IPAddress | None, QuorumNow]]:
    """Of a LvsVirtualService's kernel services, by address: where none has its quorum, the one nearest to it."""
    by_vip: dict[IPAddress | None, list[QuorumNow]] = {}
    for vip, one in quorums:
        if one is not None:
            by_vip.setdefault(vip, []).append(one)
    for vip, ones in by_vip.items():
        if not any(one.is_met for one in ones):
            yield vip, max(ones, key=lambda one: one.in_use)
