"""Brings addresses and sysctls to what they shall be, in the order in which nobody is ever misled.

A real server is silenced before it binds a VIP and given its old values back after it let go; a director announces a
VIP when its services are there and lets go of it before they are removed.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial

from lvs_agent.converge.announcements import AnnouncementKeeper
from lvs_agent.converge.duplicates import DuplicateKeeper
from lvs_agent.decide.changes import BindAddress, LinkChange, UnbindAddress, WriteSysctl
from lvs_agent.decide.claimants import ignored_answers
from lvs_agent.decide.desired_addresses import (
    SILENT_DEVICES,
    DesiredAddresses,
    desire_addresses,
    sysctl_role,
    tunnel_sources,
)
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_diff import diff_links
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks, Route
from lvs_agent.decide.kernel_sysctls import KernelSysctls
from lvs_agent.decide.ownership import LinkOwnership, judge_links
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.refused_addresses import own_addresses
from lvs_agent.decide.remembered import not_remembered, waiting_addresses, waiting_sysctls
from lvs_agent.decide.wanted_sysctls import SysctlRole, SysctlVerdict, judge_sysctls, keys_to_read
from lvs_agent.disk.ledger import Ledger
from lvs_agent.errors import SysctlError
from lvs_agent.kernel.interface import Announcer, Links, Sysctls
from lvs_agent.serve.metrics import NOT_BOUND, AgentMetrics
from lvs_api.conditions import Reason
from lvs_api.lvs_node import VirtualRouterState

_log = logging.getLogger(__name__)

Remember = Callable[[AbstractSet[AddressBinding], KernelSysctls], Ledger]
"""Called before a write with what will be ours, and with the values from before; the ledger as it is on disk then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a round starts from."""

    prepared: PreparedPlan
    owned: frozenset[AddressBinding]
    """What the ledger says is ours."""
    sysctls: KernelSysctls
    """Values from before our first write, by the ledger."""
    routes: Mapping[IPAddress, Route]
    vrrp: Mapping[IPAddress, VirtualRouterState] = field(default_factory=dict)
    """What the VRRP daemon does with the addresses of which it has spoken."""
    withdrawn: frozenset[IPAddress] = frozenset()
    """VIPs that are not carried for want of quorum."""
    waiting: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """What is not bound yet, and why; it stays where it is bound."""

    def is_same(self, other: "Given") -> bool:
        """Whether nothing of it was replaced."""
        return (
            self.prepared is other.prepared
            and self.owned is other.owned
            and self.sysctls is other.sysctls
            and self.routes is other.routes
            and self.vrrp == other.vrrp
            and self.waiting == other.waiting
            and self.withdrawn == other.withdrawn
        )

    def after(self, outcome: "AddressOutcome") -> "Given":
        """What the next round starts from, if nothing happens."""
        return replace(self, owned=outcome.owned, sysctls=outcome.sysctls)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOutcome:
    """How addresses and sysctls stand after a round."""

    desired: DesiredAddresses = field(default_factory=DesiredAddresses)
    owned: frozenset[AddressBinding] = frozenset()
    """Ours, and bound."""
    sysctls: KernelSysctls = field(default_factory=dict)
    """Values from before our first write."""
    takes_traffic: bool = True
    """The sysctls are as a real server needs them: silent, and open to what its tunnels unwrap."""
    ready: bool = True
    """The sysctls are as the roles need them."""
    sysctl_fault: Fault | None = None
    faults: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """By wanted address; and by address of ours that did not go."""
    own: tuple[IPAddress, ...] = ()
    """Of the node itself."""


class AddressKeeper:
    """Owner of the seams for links, sysctls and announcements."""

    def __init__(
        self,
        *,
        links: Links,
        sysctls: Sysctls,
        announcer: Announcer,
        duplicates: DuplicateKeeper,
        metrics: AgentMetrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._links = links
        self._sysctls = sysctls
        self._duplicates = duplicates
        self._metrics = metrics
        self._announcements = AnnouncementKeeper(announcer, metrics, monotonic)
        self._settled: frozenset[AddressBinding] = frozenset()
        self._settled_sysctls: dict[str, int] = {}
        self._said: dict[AddressBinding, str] = {}
        self._stuck: Mapping[AddressBinding, Fault] = {}
        """What could not be unbound."""
        self._last: _LastRound | None = None

    def next_deadline(self) -> float | None:
        """When the next announcement is due."""
        return self._announcements.next_deadline()

    async def let_go(self, given: Given, remember: Remember) -> None:
        """Unbind what is ours and no longer wanted: before its services are removed, and before sysctls go back."""
        links = await self._links.read()
        if self._last is not None and self._last.is_of(given, links):
            return
        desired = _desire(given, links)
        ownership = _judge(given, desired, links)
        moving = {binding.address for binding in desired.vips - ownership.owned}
        gone = [
            change
            for change in diff_links(desired.all, ownership)
            if isinstance(change, UnbindAddress)
            # A VIP that moves between two network devices goes when it is on the other one: it is never absent.
            and (change.binding.address not in moving or change.binding.device in SILENT_DEVICES)
        ]
        self._stuck = {}
        if gone:
            remember(ownership.owned, given.sysctls)
            self._stuck = await self._apply(gone)

    async def take_on(self, given: Given, served: AbstractSet[IPAddress], remember: Remember) -> AddressOutcome:
        """Silence, bind, announce, and give back sysctls that no role needs any more. `served` VIPs may be bound."""
        links = await self._links.read()
        last = self._last
        if last is not None and last.is_of(given, links) and last.served is served and self._is_quiet(last, links):
            self._announcements.announce()
            return last.outcome
        desired = _desire(given, links)
        ownership = _judge(given, desired, links)
        role = _role(given, desired, ownership)
        keeping = self._keep_sysctls(role, links, given.sysctls, partial(remember, ownership.owned))
        missing = self._to_bind(desired, ownership, served, silent=keeping.verdict.is_silent)
        asked = self._first_claims(missing, desired)
        waiting = {**given.waiting, **self._duplicates.judge(asked, links, ignored_answers(given.prepared.plan))}
        missing = [change for change in missing if change.binding not in waiting]
        if missing:
            ours = ownership.owned | {change.binding for change in missing}
            waiting = {**waiting, **waiting_addresses(missing, remember(ours, keeping.remembered).bindings)}
            missing = [change for change in missing if change.binding not in waiting]
        faults: Mapping[AddressBinding, Fault] = {}
        if missing:
            ours = ownership.owned | {change.binding for change in missing}
            faults = await self._apply(missing)
            links = await self._links.read(fresh=True)
            ownership = judge_links(links, desired.all, ours, desired.by_vrrp)
            keeping = self._keep_sysctls(role, links, keeping.remembered, partial(remember, ownership.owned))
        outcome = AddressOutcome(
            desired=desired,
            owned=ownership.owned,
            sysctls=keeping.remembered,
            takes_traffic=keeping.verdict.takes_traffic,
            ready=keeping.verdict.is_met and keeping.fault is None,
            sysctl_fault=keeping.fault,
            faults={**_conflicts(ownership), **desired.refused, **self._stuck, **waiting, **faults},
            own=own_addresses(links, tunnel_sources(given.prepared, given.routes, ownership.owned | desired.all)),
        )
        for reason in NOT_BOUND:
            count = sum(fault.reason is reason for fault in outcome.faults.values())
            self._metrics.addresses_not_bound.labels(reason).set(count)
        bound = {change.binding for change in missing if change.binding not in faults}
        self._announcements.carry(ownership.owned & desired.vips, bound, links)
        self._announcements.announce()
        self._settled = ownership.owned & desired.all
        done = outcome.ready and ownership.owned == desired.all
        self._last = _LastRound(given.after(outcome), links, served, role, outcome) if done else None
        return outcome

    def _is_quiet(self, last: "_LastRound", links: KernelLinks) -> bool:
        """Whether the sysctls are still as they shall be."""
        remembered = last.given.sysctls
        found = self._sysctls.read(keys_to_read(last.role, links, remembered))
        verdict = judge_sysctls(last.role, links, found, remembered)
        return not verdict.writes and not verdict.restores

    def _to_bind(
        self, desired: DesiredAddresses, ownership: LinkOwnership, served: AbstractSet[IPAddress], *, silent: bool
    ) -> list[LinkChange]:
        """What is missing and may be bound now."""
        changes = diff_links(desired.all, ownership)
        ipv4 = 4
        return [
            change
            for change in changes
            if isinstance(change, BindAddress)
            and (
                change.binding.address in served
                if change.binding in desired.vips
                else (silent or change.binding.address.version != ipv4) and change.binding in desired.silent
            )
        ]

    def _first_claims(self, missing: Iterable[LinkChange], desired: DesiredAddresses) -> frozenset[AddressBinding]:
        """VIPs that this process has not seen here: one that somebody removed, or that changes its device, is ours."""
        carried = {binding.address for binding in self._settled if binding.device not in SILENT_DEVICES}
        asked = {change.binding for change in missing if change.binding.address not in carried}
        return frozenset(asked & desired.vips)

    async def _apply(self, changes: Iterable[LinkChange]) -> dict[AddressBinding, Fault]:
        """Carry out; what failed, by address."""
        asked = tuple(changes)
        asked_for = {change.binding for change in asked}
        for change in asked:
            binding = change.binding
            if binding in self._said:
                continue  # it failed before, which was told
            verb = "bind" if isinstance(change, BindAddress) else "unbind"
            if isinstance(change, BindAddress) and binding in self._settled:
                self._metrics.repairs.labels("address").inc()
                _log.warning("binding again what somebody else removed: %s on %s", binding.address, binding.device)
            else:
                _log.info("%s %s on %s", verb, binding.address, binding.device)
        failures = await self._links.apply(asked)
        self._metrics.kernel_writes.labels("address").inc(len(asked) - len(failures))
        failed = {failure.change.binding: str(failure.error) for failure in failures}
        for binding, message in failed.items():
            if self._said.get(binding) != message:
                _log.warning("%s", message)
        self._said = {b: message for b, message in self._said.items() if b not in asked_for} | failed
        return {
            failure.change.binding: Fault(reason=Reason.KERNEL_REFUSED, message=str(failure.error))
            for failure in failures
        }

    def _keep_sysctls(
        self,
        role: SysctlRole,
        links: KernelLinks,
        remembered: KernelSysctls,
        remember: Callable[[KernelSysctls], Ledger],
    ) -> "_Keeping":
        """Write what differs and look again."""
        found = self._sysctls.read(keys_to_read(role, links, remembered))
        verdict = judge_sysctls(role, links, found, remembered)
        for key in verdict.left:
            _log.info("%s stays %d: others rely on it by now", key, found[key])
        if not verdict.writes and not verdict.restores:
            return _Keeping(verdict, verdict.remember, None)
        # Old values stay remembered until they are back.
        on_disk = remember({**remembered, **verdict.remember}).sysctls
        waiting = waiting_sysctls(verdict.writes, remembered, on_disk)
        fault = not_remembered(", ".join(str(write.key) for write in waiting)) if waiting else None
        for write in (*verdict.writes, *verdict.restores):
            if write not in waiting:
                fault = self._write_sysctl(write) or fault
        kept = verdict.remember
        if fault:
            both = {**remembered, **verdict.remember}
            kept = {key: value for key, value in both.items() if key in remembered or on_disk.get(key) == value}
        found = self._sysctls.read(keys_to_read(role, links, kept))
        return _Keeping(judge_sysctls(role, links, found, kept), kept, fault)

    def _write_sysctl(self, write: WriteSysctl) -> Fault | None:
        name = str(write.key)
        if self._settled_sysctls.get(name) == write.value:
            self._metrics.repairs.labels("sysctl").inc()
            _log.warning("%s was changed to %d by somebody else: back to %d", name, write.previous, write.value)
        else:
            _log.info("%s: %d -> %d", name, write.previous, write.value)
        try:
            self._sysctls.write(write.key, write.value)
        except SysctlError as error:
            _log.warning("%s", error)
            return Fault(reason=Reason.KERNEL_REFUSED, message=str(error))
        self._settled_sysctls[name] = write.value
        self._metrics.kernel_writes.labels("sysctl").inc()
        return None


@dataclass(frozen=True, slots=True)
class _Keeping:
    """Sysctls after writing: how they stand, the values from before, and what was refused."""

    verdict: SysctlVerdict
    remembered: KernelSysctls
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class _LastRound:
    """A round that left nothing to be done, and what it was made from."""

    given: Given
    links: KernelLinks
    served: AbstractSet[IPAddress]
    role: SysctlRole
    outcome: AddressOutcome

    def is_of(self, given: Given, links: KernelLinks) -> bool:
        """Whether the same would come out again."""
        return self.links is links and self.given.is_same(given)


def _judge(given: Given, desired: DesiredAddresses, links: KernelLinks) -> LinkOwnership:
    return judge_links(links, desired.all, given.owned - desired.handed_over, desired.by_vrrp)


def _desire(given: Given, links: KernelLinks) -> DesiredAddresses:
    desired = desire_addresses(given.prepared.plan, links, given.owned, given.vrrp, given.withdrawn)
    return desired.without(given.prepared.refusals.faults)


def _role(given: Given, desired: DesiredAddresses, ownership: LinkOwnership) -> SysctlRole:
    """What the sysctls have to serve, with what is still bound."""
    still_bound = {binding for binding in ownership.owned if binding.device in SILENT_DEVICES}
    return sysctl_role(given.prepared, desired.silent | still_bound, given.routes)


def _conflicts(ownership: LinkOwnership) -> dict[AddressBinding, Fault]:
    return {
        conflict.wanted: Fault(
            reason=Reason.ADDRESS_CONFLICT,
            message=f"{conflict.found.address}/{conflict.found.prefix_length} is on {conflict.found.device} already "
            f"and not ours: remove it there, and it is bound on {conflict.wanted.device}",
        )
        for conflict in ownership.conflicts
    }
