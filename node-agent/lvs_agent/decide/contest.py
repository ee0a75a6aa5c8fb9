"""Whether something else on the node keeps undoing what is ours in the IPVS table, and who that may be.

One change by another hand is put right and counted, no more: a person tried `ipvsadm -C`. Who comes back is told of,
with what can be guessed about it. It stays a guess, for the kernel does not say who wrote.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from lvs_agent.decide.changes import AddService, IpvsChange
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import HOST_PREFIX_LENGTH, AnyServiceKey, KernelLinks, ServiceKey
from lvs_api.conditions import Reason

RAISE_TIMES: Final = 3
RAISE_SECONDS: Final = 120.0
"""Put right so often within so long, it is told. kube-proxy deletes every 30 s while its cluster is quiet
(ipvs.syncPeriod), and at most each second (ipvs.minSyncPeriod)."""
CLEAR_SECONDS: Final = 300.0
"""After so long in which nothing had to be put right it is told no more."""
TELL_SECONDS: Final = 60.0
"""The words follow what happens at most so often: others are a write of the status."""
KUBE_PROXY_DEVICE: Final = "kube-ipvs0"
"""kube-proxy in ipvs mode binds the addresses of its services to it (pkg/proxy/ipvs/proxier.go)."""
_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What was put right of what another hand had done to services of ours."""

    deleted: frozenset[AnyServiceKey] = frozenset()
    changed: frozenset[AnyServiceKey] = frozenset()
    """The service itself or its destinations."""

    def __bool__(self) -> bool:
        return bool(self.deleted or self.changed)

    def and_by(self, repairs: Collection[IpvsChange]) -> "Damage":
        """With what these changes put right. A service that is made anew was deleted, with its destinations."""
        services = self.changed | {change.service for change in repairs}
        deleted = self.deleted | {change.service for change in repairs if isinstance(change, AddService)}
        return Damage(deleted=deleted, changed=services - deleted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What of kube-proxy in ipvs mode is to be seen on the node."""

    has_device: bool = False
    services: int = 0
    """IPVS services on the addresses of its device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """How it has gone since the agent started."""

    occasions: tuple[float, ...] = ()
    """When something was put right, the latest last; those of the last `RAISE_SECONDS` before that one."""
    fault: Fault | None = None
    """What is told."""
    worded: float = 0.0
    """When that was put into words."""


NO_CONTEST: Final = Contest()


def follow(before: Contest, damage: Damage, traces: Traces, now: float) -> Contest:
    """After a round that put right so much. `now` is of a clock that only goes on."""
    if not damage:
        patience = CLEAR_SECONDS if before.fault is not None else RAISE_SECONDS
        is_over = bool(before.occasions) and now - before.occasions[-1] >= patience
        return NO_CONTEST if is_over else before
    occasions = (*(at for at in before.occasions if now - at <= RAISE_SECONDS), now)
    is_told = before.fault is not None
    if (is_told and now - before.worded < TELL_SECONDS) or (not is_told and len(occasions) < RAISE_TIMES):
        return replace(before, occasions=occasions)
    return Contest(occasions=occasions, fault=_fault(damage, traces, len(occasions)), worded=now)


def traces_of(links: KernelLinks, services: Collection[AnyServiceKey]) -> Traces:
    """What devices, addresses and the services of the IPVS table tell."""
    theirs = {one.address for one in links.addresses if one.device == KUBE_PROXY_DEVICE}
    return Traces(
        has_device=KUBE_PROXY_DEVICE in links.devices,
        services=sum(isinstance(key, ServiceKey) and key.address in theirs for key in services),
    )


def _fault(damage: Damage, traces: Traces, times: int) -> Fault:
    done = [
        f"{verb} {_named(services)}"
        for verb, services in (("deleted", damage.deleted), ("changed", damage.changed))
        if services
    ]
    often = f"{times} times" if times > 1 else "once more"
    return Fault(
        reason=Reason.FOREIGN_WRITER,
        message=f"something else on this node keeps undoing IPVS entries of this agent, {often} in "
        f"{RAISE_SECONDS:.0f} s; this time it {' and '.join(done)}. They are put back within about a second, but "
        f"clients notice. {_guess(damage, traces)}",
    )


def _guess(damage: Damage, traces: Traces) -> str:
    """kube-proxy deletes whole services, and none that is found by a mark (cleanLegacyService in proxier.go)."""
    vips = {key.address for key in damage.deleted if isinstance(key, ServiceKey)}
    if not traces.has_device or not vips:
        return "Nothing here tells who it is: look for scripts and timers with ipvsadm, and for other managers of IPVS"
    seen = f"its device {KUBE_PROXY_DEVICE} is here"
    seen += f" with the addresses of {traces.services} IPVS services" if traces.services else ", but without services"
    ranges = sorted(f"{vip}/{HOST_PREFIX_LENGTH[vip.version]}" for vip in vips)
    return (
        f"Perhaps it is kube-proxy in ipvs mode ({seen}), which deletes services that it does not know: name the VIPs "
        f"in its ipvs.excludeCIDRs ({_some(ranges)}), or run it in another mode"
    )


def _named(services: frozenset[AnyServiceKey]) -> str:
    return _some(sorted(map(str, services)))


def _some(words: list[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more
