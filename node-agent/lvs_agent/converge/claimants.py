"""Asks the link who else has the addresses of virtual routers: before this director may carry them, and while it does.

Questions run as tasks beside the loop. Who answers is asked about again a second later, together with the real servers,
so that what is told was so twice and names whom it can. A Backup asks nobody. What is asked again and again is no more
than `FRAMES_A_SECOND`, all addresses together; but who waits asks every two seconds for one of those that he waits for.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from lvs_agent.converge.duplicates import can_be_asked
from lvs_agent.decide.asking_addresses import asking_addresses
from lvs_agent.decide.claimants import (
    DEFEND_SECONDS,
    Acquaintances,
    Answers,
    Claimants,
    Situation,
    acquaintances,
    are_told_apart,
    claimants,
    contested,
    counted,
    hinders,
    is_spoken,
    not_begun,
)
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.heard_adverts import Sender
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks
from lvs_agent.decide.virtual_routers import RouterKey
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_agent.errors import AnnounceError, LinkNotAsked
from lvs_agent.kernel.interface import Announcer, DuplicateProbe
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Reason
from lvs_core.plan import NodePlan

CLEAR_SECONDS: Final = 2.0
"""So long after it was asked for in vain an address may be carried; later it is asked for again."""
AGAIN_SECONDS: Final = 1.0
"""Who answered may have been letting go just then."""
RETRY_SECONDS: Final = 2.0
"""While somebody keeps this director from beginning it is asked so often."""
FIRST_LOOK_SECONDS: Final = 2.0
"""A Master looks around so long after it has become one: by then neighbours and other directors know."""
LOOK_SECONDS: Final = 10.0
FRAMES_A_SECOND: Final = 10
_FRAMES_AN_ADDRESS: Final = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """How the virtual routers stand in a round."""

    plan: NodePlan
    placed: Sequence[PlacedRouter]
    ready: AbstractSet[RouterKey]
    """Nothing else keeps them from carrying their addresses."""
    begun: AbstractSet[RouterKey]
    """They take part already, by what an agent said before, or carry their addresses."""
    masters: AbstractSet[RouterKey]
    senders: AbstractSet[Sender]
    """Whose adverts are heard."""
    links: KernelLinks

    @property
    def own(self) -> frozenset[bytes]:
        """This node's MAC addresses."""
        return frozenset(device.hardware_address for device in self.links.devices.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What comes of it."""

    waiting: Mapping[RouterKey, Fault] = field(default_factory=dict)
    """Virtual routers that must not begin, and why."""
    conflicts: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    """Addresses that somebody else has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a question came to."""

    asked: frozenset[AddressBinding]
    answers: Answers
    known: Acquaintances
    at: float
    failure: str | None = None

    def who(self, bindings: Sequence[AddressBinding], own: AbstractSet[bytes]) -> dict[AddressBinding, Claimants]:
        """Who answers for each address, where somebody does."""
        found = {one: claimants(one.address, self.answers, self.known, own) for one in bindings}
        return {one: who for one, who in found.items() if who != Claimants()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One that is under way."""

    asked: frozenset[AddressBinding]
    known: Acquaintances
    task: asyncio.Task[Answers]
    is_about_blocker: bool


@dataclass(slots=True, kw_only=True)
class _Watch:
    """One virtual router that is asked about."""

    due: float
    look: _Look | None = None
    suspects: bool = False
    """Somebody answered the last time: real servers are asked, too."""
    is_sure: bool = False
    """The last look found what the one before had found."""
    blocker: AddressBinding | None = None
    """While somebody answers for this one the director does not begin, whatever becomes of the others."""
    question: _Question | None = None

    def begin_anew(self, now: float) -> None:
        """Nothing is known, and the question is due."""
        self.look, self.suspects, self.is_sure, self.blocker, self.due = None, False, False, None, now


class ClaimantKeeper:
    """Owner of what is known of other owners. `wake` is called when an answer is there."""

    def __init__(
        self,
        probe: DuplicateProbe,
        announcer: Announcer,
        metrics: AgentMetrics,
        *,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._probe = probe
        self._announcer = announcer
        self._metrics = metrics
        self._monotonic = monotonic
        self._wake = wake
        self._begun: frozenset[RouterKey] = frozenset()
        self._watches: dict[RouterKey, _Watch] = {}
        self._defended: dict[AddressBinding, float] = {}
        self.directors: dict[str, dict[str, frozenset[bytes]]] = {}
        """The MAC addresses of the other directors, by group and Node, as they answered the last time that they did."""

    @property
    def is_asking(self) -> bool:
        """Whether an answer is still to be taken."""
        return any(watch.question is not None for watch in self._watches.values())

    def judge(self, scene: Scene) -> Found:
        """Who must not begin, and which addresses somebody else has. Asks what is due."""
        now = self._monotonic()
        routers = {one.key: (one, _askable(one, scene)) for one in scene.placed}
        self._begun = (self._begun | scene.begun | scene.masters) & routers.keys()
        waiting: dict[RouterKey, Fault] = {}
        conflicts: dict[AddressBinding, Fault] = {}
        watched = 0
        for key, (one, bindings) in routers.items():
            if key in scene.masters and bindings:
                watched += len(bindings)
                conflicts |= self._look_around(one, bindings, scene, now)
            elif key in scene.ready - self._begun and bindings:
                watched += len(bindings)
                found = self._begin(one, bindings, scene, now)
                if found is not None:
                    binding, waiting[key] = found
                    if waiting[key].reason is Reason.ADDRESS_CONFLICT:
                        conflicts[binding] = waiting[key]
                    continue
                self._begun |= {key}
                self._forget(key)
            else:
                self._begun |= scene.ready & {key}
                self._forget(key)
        for key in self._watches.keys() - routers.keys():
            self._forget(key)
        self._ask_due(routers, scene, now, watched)
        return Found(waiting=waiting, conflicts=conflicts)

    async def close(self) -> None:
        """End the questions under way."""
        tasks = [watch.question.task for watch in self._watches.values() if watch.question is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(
        self, one: PlacedRouter, bindings: Sequence[AddressBinding], scene: Scene, now: float
    ) -> tuple[AddressBinding, Fault] | None:
        """Why it must not begin, and for which address; None: it may."""
        watch = self._watches.setdefault(one.key, _Watch(due=now))
        if self._collect(watch, bindings, scene, now) and watch.is_sure:
            watch.due = now + RETRY_SECONDS
        if watch.look is not None and not watch.look.asked.issuperset(bindings):
            watch.begin_anew(now)  # it has other addresses by now, or they are on other devices
        look = watch.look
        if look is not None and look.failure is not None:
            return bindings[0], Fault(reason=Reason.KERNEL_REFUSED, message=look.failure)
        if look is None or (not watch.suspects and now - look.at > CLEAR_SECONDS):
            return bindings[0], _asking(bindings[0])
        situation = Situation(
            by_stored_view=scene.plan.by_stored_view,
            is_spoken=is_spoken(one, scene.senders),
            are_told_apart=are_told_apart(one, look.answers, look.known),
        )
        hindered = {
            binding: who for binding, who in look.who(bindings, scene.own).items() if hinders(one, who, situation)
        }
        watch.blocker = None
        if not hindered:
            return None
        first = min(hindered, key=lambda binding: (not hindered[binding].strangers, str(binding.address)))
        watch.blocker = first if watch.is_sure else None
        return first, not_begun(first, hindered[first]) if watch.is_sure else _asking(first)

    def _look_around(
        self, one: PlacedRouter, bindings: Sequence[AddressBinding], scene: Scene, now: float
    ) -> dict[AddressBinding, Fault]:
        """The addresses of a Master that somebody else has, too; they are defended when that has just been seen."""
        watch = self._watches.setdefault(one.key, _Watch(due=now + FIRST_LOOK_SECONDS))
        watch.blocker = None
        is_new = self._collect(watch, bindings, scene, now)
        look = watch.look
        if look is None:
            return {}
        if is_new:
            self._meet(one.key.group, look)
        if is_new and watch.suspects == watch.is_sure:
            watch.due = now + LOOK_SECONDS
        if not watch.is_sure:
            return {}
        found = {binding: contested(binding, who) for binding, who in look.who(bindings, scene.own).items()}
        conflicts = {binding: fault for binding, fault in found.items() if fault is not None}
        if is_new:
            self._defend(conflicts.keys(), now)
        return conflicts

    def _meet(self, group: str, look: _Look) -> None:
        before = self.directors.get(group, {})
        found: dict[str, frozenset[bytes]] = {}
        for address, node in look.known.directors.items():
            found[node] = found.get(node, frozenset()) | look.answers.get(address, frozenset())
        self.directors[group] = {node: macs or before.get(node, macs) for node, macs in found.items()}

    def _defend(self, bindings: AbstractSet[AddressBinding], now: float) -> None:
        """Tell neighbours where the addresses are."""
        self._defended = {one: at for one, at in self._defended.items() if now - at < DEFEND_SECONDS}
        for binding in sorted(bindings - self._defended.keys(), key=str):
            self._defended[binding] = now
            try:
                self._announcer.announce(binding.device, binding.address)
            except AnnounceError as error:
                _log.warning("%s", error)
            else:
                self._metrics.announcements.inc()

    def _collect(self, watch: _Watch, bindings: Sequence[AddressBinding], scene: Scene, now: float) -> bool:
        """Take an answer that came; whether one did. Raises what it failed with, unless the link could not be asked."""
        question = watch.question
        if question is None or not question.task.done():
            return False
        watch.question, suspected, watch.due = None, watch.suspects, now + AGAIN_SECONDS
        asked, known = question.asked, question.known
        if question.is_about_blocker:
            watch.due = now + RETRY_SECONDS
            if not _is_answered(question, scene.own):
                watch.begin_anew(now)
            return False
        try:
            watch.look = _Look(asked=asked, answers=question.task.result(), known=known, at=now)
        except LinkNotAsked as error:
            watch.look = _Look(asked=asked, answers={}, known=known, at=now, failure=str(error))
        watch.suspects = bool(watch.look.who(bindings, scene.own))
        watch.is_sure = suspected and watch.suspects
        return True

    def _ask_due(
        self,
        routers: Mapping[RouterKey, tuple[PlacedRouter, Sequence[AddressBinding]]],
        scene: Scene,
        now: float,
        watched: int,
    ) -> None:
        watched += sum(watch.look.known.count for watch in self._watches.values() if watch.look is not None)
        spacing = watched * _FRAMES_AN_ADDRESS / FRAMES_A_SECOND
        directors = {director.group: director for director in scene.plan.directing}
        for key, watch in self._watches.items():
            is_repeated = watch.is_sure or key in self._begun
            earliest = watch.look.at + spacing if watch.look is not None and is_repeated else now
            blocker = watch.blocker if now < earliest else None
            if watch.question is not None or now < watch.due or (now < earliest and blocker is None):
                continue
            one, bindings = routers[key]
            addresses = {binding.address for binding in bindings}
            known = acquaintances(directors[key.group], addresses, with_servers=watch.suspects)
            if blocker is not None:
                bindings, known = (blocker,), Acquaintances(network=known.network)
            task = asyncio.get_running_loop().create_task(self._ask(one.device, bindings, known, scene.links))
            task.add_done_callback(lambda _: self._wake())
            watch.question = _Question(
                asked=frozenset(bindings), known=known, task=task, is_about_blocker=blocker is not None
            )

    async def _ask(
        self, device: str, bindings: Sequence[AddressBinding], known: Acquaintances, links: KernelLinks
    ) -> Answers:
        """Who answers for the addresses, and for those of acquaintances, on any of the links.

        Raises LinkNotAsked for the `device` on which VRRP is spoken. Another one whose link is down keeps no address of
        this one away: nobody is reached by it, and the Master asks there again.
        """
        by_device: dict[str, set[IPAddress]] = {}
        for binding in bindings:
            by_device.setdefault(binding.device, set()).add(binding.address)
        questions = [self._ask_link(one, mine, known, links) for one, mine in by_device.items()]
        found: dict[IPAddress, frozenset[bytes]] = {}
        for name, answers in zip(by_device, await asyncio.gather(*questions, return_exceptions=True), strict=True):
            if isinstance(answers, LinkNotAsked) and name != device:
                continue
            if isinstance(answers, BaseException):
                raise answers
            for address, macs in answers.items():
                found[address] = found.get(address, frozenset()) | macs
        return counted(found, known.network)

    async def _ask_link(
        self, device: str, mine: AbstractSet[IPAddress], known: Acquaintances, links: KernelLinks
    ) -> Answers:
        others = known.directors.keys() | known.servers.keys()
        # Another director that asks at the same moment has nothing yet: with it VRRP settles it.
        asking = [self._probe.ask(device, mine, heed_probes=False)]
        if others:
            own = asking_addresses(device, links)
            asking.append(self._probe.ask(device, others, heed_probes=False, sources=own))
        answers = await asyncio.gather(*asking)
        return {address: macs for one in answers for address, macs in one.items()}

    def _forget(self, key: RouterKey) -> None:
        watch = self._watches.pop(key, None)
        if watch is not None and watch.question is not None:
            watch.question.task.cancel()


def _askable(one: PlacedRouter, scene: Scene) -> tuple[AddressBinding, ...]:
    """Its VIPs whose links have neighbours. A gateway's address is on a link of its own, where nobody is known."""
    vips = next((director.addresses for director in scene.plan.directing if director.group == one.key.group), ())
    return tuple(
        binding for binding in one.bindings if binding.address in vips and can_be_asked(binding.device, scene.links)
    )


def _is_answered(question: _Question, own: AbstractSet[bytes]) -> bool:
    """Whether somebody else still answers; False too where the link could not be asked."""
    try:
        return any(macs - own for macs in question.task.result().values())
    except LinkNotAsked:
        return False


def _asking(binding: AddressBinding) -> Fault:
    return Fault(
        reason=Reason.PENDING,
        message=f"asking the link of {binding.device} whether somebody has {binding.address}; then it may be carried",
    )
