"""Looks now and then whether packets of clients arrive of which IPVS counts nothing.

A look costs little and a busy director less: services are listened for only while their counters stand still, so many
at once, for two seconds in twenty; what they counted is read in one short dump.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lvs_agent.converge.addresses import AddressOutcome
from lvs_agent.converge.table import TableOutcome
from lvs_agent.decide.desired_addresses import SILENT_DEVICES
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.handed_on import HANDED_ON_SERVICES
from lvs_agent.decide.kernel_state import IPV4, AnyServiceKey, ServiceKey, TrafficCounters
from lvs_agent.decide.kernel_sysctls import SysctlKey, conf_key
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.unseen_packets import (
    Arrival,
    Arrivals,
    Evidence,
    Fronts,
    Suspicion,
    Suspicions,
    choose,
    follow,
    fronts_of,
    is_still,
    service_for,
    told,
    with_evidence,
    would_count,
)
from lvs_agent.errors import KernelError, LinkError, SysctlError
from lvs_agent.kernel.arrival_filter import MOST_FRONTS
from lvs_agent.kernel.interface import IpvsTable, Links, PacketTap, Sysctls
from lvs_agent.serve.metrics import AgentMetrics
from lvs_core.cluster_view import ObjectKey

LOOK_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 5.0
"""The kernel brings what it counted into what it tells every two seconds (ip_vs_est.c)."""
QUIET_SECONDS: Final = 20.0
"""From the beginning of a look to the next while nothing is suspected."""
SUSPECTING_SECONDS: Final = 8.0
"""While something is, and is not told yet."""
TOLD_SECONDS: Final = 10.0
_STRICT: Final = 1
_RUN_ESTIMATION: Final = SysctlKey(("ipv4", "vs", "run_estimation"))

Counters = Mapping[AnyServiceKey, TrafficCounters]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came for services, and what they had counted before."""

    came: Mapping[AnyServiceKey, tuple[ObjectKey, ServiceKey, Arrival]]
    before: Counters
    due: float
    """When their counters tell of it, if it was counted."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A look under way."""

    fronts: Fronts
    before: Counters
    task: asyncio.Task[Arrivals]


class UnseenPacketKeeper:
    """Owner of the seam that listens, and of what is suspected. All of it ends with the agent."""

    def __init__(
        self,
        *,
        tap: PacketTap,
        ipvs: IpvsTable,
        links: Links,
        sysctls: Sysctls,
        metrics: AgentMetrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._tap = tap
        self._ipvs = ipvs
        self._links = links
        self._sysctls = sysctls
        self._metrics = metrics
        self._monotonic = monotonic
        self._counters: Counters = {}
        """As of the beginning of the last look."""
        self._suspicions: Suspicions = {}
        self._told: Mapping[AnyServiceKey, Fault] = {}
        self._look: _Look | None = None
        self._heard: _Heard | None = None
        self._due = 0.0
        self._turn = 0
        self._failure: str | None = None

    @property
    def is_looking(self) -> bool:
        """Whether somebody listens, or what came is still to be taken."""
        return self._look is not None

    async def follow(
        self, prepared: PreparedPlan, table: TableOutcome, addresses: AddressOutcome
    ) -> Mapping[AnyServiceKey, Fault]:
        """After a round: what is to be said of which kernel services. Begins a look where one is due.

        What can not be found out is logged and fails nothing.
        """
        now = self._monotonic()
        try:
            if self._look is not None and self._look.task.done():
                self._collect(now)
            if self._heard is not None and now >= self._heard.due:
                await self._judge(now)
            if self._look is None and self._heard is None and now >= self._due:
                bound = addresses.owned | addresses.desired.by_vrrp
                carried = {binding.address for binding in bound if binding.device not in SILENT_DEVICES}
                self._begin(fronts_of(prepared, table.present, carried), now)
        except KernelError as error:
            if str(error) != self._failure:
                _log.warning("whether packets for services arrive that IPVS does not see is not known: %s", error)
            self._failure = str(error)
        return self._told

    async def close(self) -> None:
        """End a look that is under way."""
        if self._look is not None:
            self._look.task.cancel()
            await asyncio.gather(self._look.task, return_exceptions=True)

    def _begin(self, fronts: Fronts, now: float) -> None:
        """Read what was counted, and listen for those of whom nothing was since the last look."""
        self._due = now + QUIET_SECONDS
        counters = self._ipvs.read_counters() if fronts and self._counts() else {}
        before, self._counters = self._counters, counters
        still = {service for service in counters if is_still(before.get(service), counters[service])}
        self._suspect(follow(self._suspicions, before.keys() - still, fronts, now))
        self._due = now + (self._pause() if before else SUSPECTING_SECONDS)
        suspected = {one.evidence.front for one in self._suspected()}
        idle = [front for front, service in fronts.items() if service.key in still]
        choice = choose(idle, suspected, self._turn, MOST_FRONTS)
        if choice.fronts:
            self._turn = choice.turn
            self._metrics.arrival_looks.inc()
            listening = self._tap.listen(choice.fronts, LOOK_SECONDS)
            self._look = _Look(fronts, counters, asyncio.get_running_loop().create_task(listening))

    def _counts(self) -> bool:
        """Whether what the kernel tells of its counters moves at all."""
        return self._sysctls.read([_RUN_ESTIMATION]).get(_RUN_ESTIMATION, 1) != 0

    def _collect(self, now: float) -> None:
        """Take what came. Raises what listening failed with."""
        if self._look is None:
            return
        look, self._look = self._look, None
        came: dict[AnyServiceKey, tuple[ObjectKey, ServiceKey, Arrival]] = {}
        for front, arrival in look.task.result().items():
            service = service_for(front, look.fronts)
            if service is not None:
                came.setdefault(service.key, (service.planned.service, front, arrival))
        self._failure = None
        if came:
            self._heard = _Heard(came, look.before, now + SETTLE_SECONDS)

    async def _judge(self, now: float) -> None:
        """Find out for whom something came that IPVS ought to have counted, and did not."""
        if self._heard is None:
            return
        heard, self._heard = self._heard, None
        handed_on = HANDED_ON_SERVICES & heard.before.keys()
        states = self._ipvs.read_only(heard.came.keys() | handed_on).services
        still = {key for key, state in states.items() if is_still(heard.before.get(key), state.counters)}
        # What comes from another director's MAC address is counted there: it may be a client itself, or a router.
        elsewhere = {key.family for key in handed_on if key in states and key not in still}
        found = {
            key: Evidence(name, front, arrival.device, strict=await self._is_strict(arrival))
            for key, (name, front, arrival) in heard.came.items()
            if key in still and would_count(states[key]) and front.family not in elsewhere
        }
        if found:
            self._suspect(with_evidence(self._suspicions, found, now))
            if self._pause() == SUSPECTING_SECONDS:
                self._due = now

    async def _is_strict(self, arrival: Arrival) -> bool:
        """Whether rp_filter drops it. The larger of `all` and the device's own counts (ip-sysctl.rst)."""
        if arrival.source.version != IPV4:
            return False
        try:
            values = self._sysctls.read(conf_key("ipv4", device, "rp_filter") for device in ("all", arrival.device))
            if max(values.values(), default=0) != _STRICT:
                return False
            route = await self._links.route_to(arrival.source)
        except (SysctlError, LinkError):
            return False  # the device or the route just went
        return route.device != arrival.device

    def _suspect(self, suspicions: Suspicions) -> None:
        if suspicions != self._suspicions:
            self._suspicions = suspicions
            said = told(suspicions)
            for fault in (fault for service, fault in said.items() if service not in self._told):
                _log.warning("%s", fault.message)
            self._told = said

    def _suspected(self) -> list[Suspicion]:
        return [one for one in self._suspicions.values() if one.looks]

    def _pause(self) -> float:
        suspected = self._suspected()
        if not suspected:
            return QUIET_SECONDS
        return TOLD_SECONDS if all(one.is_told for one in suspected) else SUSPECTING_SECONDS
