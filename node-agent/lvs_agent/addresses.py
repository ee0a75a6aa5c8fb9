"""Brings addresses and sysctls to what they shall be, in the order in which nobody is ever misled.

A real server is silenced before it binds a VIP and given its old values back after it let go; a director announces a
VIP when its services are there and lets go of it before they are removed.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from lvs_agent.decide.changes import BindAddress, LinkChange, UnbindAddress, WriteSysctl
from lvs_agent.decide.desired_addresses import (
    SILENT_DEVICES,
    DesiredAddresses,
    desire_addresses,
    sysctl_role,
)
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_diff import diff_links
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks, KernelSysctls, Route
from lvs_agent.decide.ownership import LinkOwnership, judge_links
from lvs_agent.decide.wanted_sysctls import SysctlRole, SysctlVerdict, judge_sysctls, keys_to_read
from lvs_agent.errors import AnnounceError, SysctlError
from lvs_agent.kernel.interface import Announcer, Links, Sysctls
from lvs_agent.metrics import AgentMetrics
from lvs_api.conditions import Reason
from lvs_core.plan import NodePlan

ANNOUNCE_AFTER: Final = (0.0, 0.3, 1.0, 3.0, 10.0)
"""Seconds after an address came at which neighbours are told: frames get lost."""
_log = logging.getLogger(__name__)

Remember = Callable[[AbstractSet[AddressBinding], KernelSysctls], None]
"""Called before a write with what is ours, and with the values from before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressOutcome:
    """How addresses and sysctls stand after a round."""

    desired: DesiredAddresses = field(default_factory=DesiredAddresses)
    owned: frozenset[AddressBinding] = frozenset()
    """Ours, and bound."""
    sysctls: KernelSysctls = field(default_factory=dict)
    """Values from before our first write."""
    ready: bool = True
    """The sysctls are as the roles need them."""
    sysctl_fault: Fault | None = None
    faults: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """By wanted address; and by address of ours that did not go."""


@dataclass(slots=True)
class _Announcement:
    came: float
    sent: int = 0


class AddressKeeper:
    """Owner of the seams for links, sysctls and announcements."""

    def __init__(
        self,
        *,
        links: Links,
        sysctls: Sysctls,
        announcer: Announcer,
        metrics: AgentMetrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._links = links
        self._sysctls = sysctls
        self._announcer = announcer
        self._metrics = metrics
        self._monotonic = monotonic
        self._announcements: dict[AddressBinding, _Announcement] = {}
        self._settled: frozenset[AddressBinding] = frozenset()
        self._settled_sysctls: dict[str, int] = {}

    def next_deadline(self) -> float | None:
        """When the next announcement is due."""
        return min(
            (a.came + ANNOUNCE_AFTER[a.sent] for a in self._announcements.values()),
            default=None,
        )

    async def let_go(
        self, plan: NodePlan, ledger: AbstractSet[AddressBinding], sysctls: KernelSysctls, remember: Remember
    ) -> None:
        """Unbind what is ours and no longer wanted: before its services are removed, and before sysctls go back."""
        links = await self._links.read()
        desired = desire_addresses(plan, links, ledger)
        ownership = judge_links(links, desired.all, frozenset(ledger))
        gone = [c for c in diff_links(desired.all, ownership) if isinstance(c, UnbindAddress)]
        if gone:
            remember(ownership.owned, sysctls)
            await self._apply(gone)

    async def take_on(
        self,
        plan: NodePlan,
        *,
        ledger: AbstractSet[AddressBinding],
        sysctls: KernelSysctls,
        routes: Mapping[IPAddress, Route],
        served: AbstractSet[IPAddress],
        remember: Remember,
    ) -> AddressOutcome:
        """Silence, bind, announce, and give back sysctls that no role needs any more."""
        links = await self._links.read()
        desired = desire_addresses(plan, links, ledger)
        ownership = judge_links(links, desired.all, frozenset(ledger))
        still_bound = {binding for binding in ownership.owned if binding.device in SILENT_DEVICES}
        role = sysctl_role(plan, desired.silent | still_bound, routes)
        verdict, remembered, fault = self._keep_sysctls(
            role, links, sysctls, lambda values: remember(ownership.owned, values)
        )
        missing = self._to_bind(desired, ownership, served, silent=verdict.is_silent)
        if missing:
            remember(ownership.owned | {change.binding for change in missing}, remembered)
        faults = await self._apply(missing) if missing else {}
        if missing:
            links = await self._links.read(fresh=True)
            ownership = judge_links(links, desired.all, ownership.owned | {c.binding for c in missing})
            verdict, remembered, fault = self._keep_sysctls(
                role, links, remembered, lambda values: remember(ownership.owned, values)
            )
        self._announce(ownership.owned & desired.vips)
        self._settled = ownership.owned & desired.all
        return AddressOutcome(
            desired=desired,
            owned=ownership.owned,
            sysctls=remembered,
            ready=verdict.is_met and fault is None,
            sysctl_fault=fault,
            faults=_conflicts(ownership) | faults,
        )

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

    async def _apply(self, changes: Iterable[LinkChange]) -> dict[AddressBinding, Fault]:
        """Carry out; what failed, by address."""
        asked = tuple(changes)
        for change in asked:
            binding = change.binding
            verb = "bind" if isinstance(change, BindAddress) else "unbind"
            if isinstance(change, BindAddress) and binding in self._settled:
                self._metrics.repairs.labels("address").inc()
                _log.warning("binding again what somebody else removed: %s on %s", binding.address, binding.device)
            else:
                _log.info("%s %s on %s", verb, binding.address, binding.device)
        failures = await self._links.apply(asked)
        self._metrics.kernel_writes.labels("address").inc(len(asked) - len(failures))
        for failure in failures:
            _log.warning("%s", failure.error)
        return {
            failure.change.binding: Fault(reason=Reason.KERNEL_REFUSED, message=str(failure.error))
            for failure in failures
        }

    def _keep_sysctls(
        self,
        role: SysctlRole,
        links: KernelLinks,
        remembered: KernelSysctls,
        remember: Callable[[KernelSysctls], None],
    ) -> tuple[SysctlVerdict, KernelSysctls, Fault | None]:
        """Write what differs and look again; the verdict after it, values from before, and what was refused."""
        found = self._sysctls.read(keys_to_read(role, links, remembered))
        verdict = judge_sysctls(role, links, found, remembered)
        if not verdict.writes and not verdict.restores:
            return verdict, verdict.remember, None
        # Old values stay remembered until they are back.
        remember({**remembered, **verdict.remember})
        fault = None
        for write in (*verdict.writes, *verdict.restores):
            fault = self._write_sysctl(write) or fault
        kept = {**remembered, **verdict.remember} if fault else verdict.remember
        found = self._sysctls.read(keys_to_read(role, links, kept))
        after = judge_sysctls(role, links, found, kept)
        return after, kept, fault

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

    def _announce(self, carried: AbstractSet[AddressBinding]) -> None:
        """Tell neighbours of VIPs that came, several times over the first seconds."""
        now = self._monotonic()
        for binding in carried - self._settled:
            self._announcements[binding] = _Announcement(came=now)
        for binding, announcement in list(self._announcements.items()):
            if binding not in carried:
                del self._announcements[binding]
                continue
            if announcement.came + ANNOUNCE_AFTER[announcement.sent] > now:
                continue
            try:
                self._announcer.announce(binding.device, binding.address)
                self._metrics.announcements.inc()
            except AnnounceError as error:
                _log.warning("%s", error)
            announcement.sent += 1
            if announcement.sent == len(ANNOUNCE_AFTER):
                del self._announcements[binding]


def _conflicts(ownership: LinkOwnership) -> dict[AddressBinding, Fault]:
    return {
        conflict.wanted: Fault(
            reason=Reason.ADDRESS_CONFLICT,
            message=f"{conflict.found.address}/{conflict.found.prefix_length} is on {conflict.found.device} already "
            f"and not ours: remove it there, and it is bound on {conflict.wanted.device}",
        )
        for conflict in ownership.conflicts
    }
