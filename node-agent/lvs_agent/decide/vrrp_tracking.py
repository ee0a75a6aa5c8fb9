"""Which virtual routers this director may carry, and why not. Pure.

What is wrong with one service alone does not keep an address from the others.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AnyServiceKey, IPAddress, KernelLinks
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.virtual_routers import DaemonWord, RouterKey
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_api.lvs_node import MAX_HEARD, VirtualRouterReport, VirtualRouterState
from lvs_api.network_types import Family

_MAX_MESSAGE: Final = 256
_BELOW_QUORUM: Final = "every service of its addresses is below quorum here"
_GIVES_WAY: Final = "it gives way to another director, as it was told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How this director stands to the VIPs of its plan."""

    prepared: PreparedPlan
    served: AbstractSet[IPAddress] = frozenset()
    """The kernel has a service for them."""
    faults: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    """Of services."""
    unready: Mapping[IPAddress, str] = field(default_factory=dict)
    """Without packet filter rules that they need, and why."""
    unavailable: str | None = None
    """Why there is no IPVS."""
    withdrawn: frozenset[IPAddress] = frozenset()
    """VIPs that are not carried for want of quorum."""
    masters: AbstractSet[RouterKey] = frozenset()
    """Virtual routers whose addresses are carried here. A packet filter that fails takes none of them away: the rules
    that were set may well be there, and another director may be no better off."""

    def lacks_quorum(self, addresses: Iterable[IPAddress]) -> str | None:
        """Why a virtual router of these is not to be carried for want of real servers."""
        return _BELOW_QUORUM if self.withdrawn.issuperset(addresses) else None


def hindrances(
    placed: Iterable[PlacedRouter], serving: Serving, let_go: AbstractSet[str] = frozenset()
) -> dict[RouterKey, str | None]:
    """Why each virtual router must not carry its addresses here; None: it may. `let_go` are director groups."""
    wanted: dict[IPAddress, list[AnyServiceKey]] = {}
    excused: dict[IPAddress, bool] = {}
    for one in serving.prepared.services:
        if (vip := one.planned.vip) is not None:
            wanted.setdefault(vip, []).append(one.key)
            excused[vip] = excused.get(vip, True) and (one.planned.paused or one.key in serving.faults)
    return {
        one.key: _GIVES_WAY if one.key.group in let_go else _hindrance(one, serving, wanted, excused) for one in placed
    }


def _hindrance(
    one: PlacedRouter,
    serving: Serving,
    wanted: Mapping[IPAddress, list[AnyServiceKey]],
    excused: Mapping[IPAddress, bool],
) -> str | None:
    addresses = [binding.address for binding in one.bindings]
    refused = serving.prepared.refusals.faults
    for address in addresses:
        if address in refused:
            return refused[address].message
        if address in serving.unready and one.key not in serving.masters:
            return f"{address}: {serving.unready[address]}"
    if (why := serving.unavailable or serving.lacks_quorum(addresses)) is not None:
        return why
    missing = [address for address in addresses if address in wanted and address not in serving.served]
    for address in missing:
        if not excused[address]:
            return f"{address} has no virtual service in the kernel yet"
    if missing and not any(address in serving.served for address in addresses):
        fault = next((serving.faults[key] for key in wanted[missing[0]] if key in serving.faults), None)
        return fault.message if fault is not None else f"{missing[0]} has no virtual service in the kernel"
    return None


def router_reports(
    placed: Iterable[PlacedRouter],
    word: DaemonWord | None,
    why: Mapping[RouterKey, str | None],
    links: KernelLinks,
) -> dict[str, list[VirtualRouterReport]]:
    """What is said of each, by director group."""
    reports: dict[str, list[VirtualRouterReport]] = {}
    for one in placed:
        known = word.routers.get(one.key) if word is not None else None
        state = VirtualRouterState.FAULT if known is None else known.state
        message = None
        if state is VirtualRouterState.FAULT:
            message = why.get(one.key) or _fault(one, links) if known is not None else _NOT_KNOWN
        reports.setdefault(one.key.group, []).append(
            VirtualRouterReport(
                id=one.key.id,
                family=one.key.family,
                state=state,
                since=known.since if known is not None else None,
                message=message[:_MAX_MESSAGE] if message is not None else None,
                heard_from=_heard_from(one, word) or None,
            )
        )
    return reports


def _heard_from(one: PlacedRouter, word: DaemonWord | None) -> list[str]:
    """Whose adverts of it came in by its device."""
    if word is None or one.key.family is not Family.IPV4:
        return []
    heard = {sender.address for sender in word.senders if (sender.device, sender.router_id) == (one.device, one.key.id)}
    return [str(address) for address in sorted(heard)][:MAX_HEARD]


_NOT_KNOWN: Final = "the VRRP daemon has said nothing of it yet"


def _fault(one: PlacedRouter, links: KernelLinks) -> str:
    """What a fault that is none of ours may come from."""
    for name in sorted(one.devices):
        device = links.devices.get(name)
        if device is None:
            return f"there is no network device {name}"
        if not (device.up and device.carrier):
            return f"network device {name} is {'without a carrier' if device.up else 'down'}"
    own = ", ".join(str(address) for address in one.plan.own)
    source = f"{own} is not there" if own else f"{one.device} has no address of its own to send from"
    return f"keepalived does not say why; perhaps {source}, or another family of the same id is in trouble"
