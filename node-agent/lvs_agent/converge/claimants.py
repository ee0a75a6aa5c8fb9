"""Asks the link who else has the addresses of virtual routers: before this director may carry them, and while it does.

Questions run as tasks beside the loop. Who answers is asked about again a second later, together with the real servers,
so that what is told was so twice and names whom it can. A Backup asks nobody. What is asked again and again is no more
than `FRAMES_A_SECOND`, all addresses together; but who waits asks every two seconds for one of those that he waits for.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from lvs_agent.converge.announcements import tell_neighbours
from lvs_agent.converge.duplicates import can_be_asked
from lvs_agent.converge.link_questions import LinkQuestions
from lvs_agent.decide.claimants import (
    DEFEND_SECONDS,
    Acquaintances,
    Answers,
    Claimants,
    Hindrance,
    Situation,
    acquaintances,
    are_told_apart,
    claimants,
    contested,
    hindrance,
    not_begun,
    speakers,
)
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.heard_adverts import Sender
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks
from lvs_agent.decide.left_out import DaemonLists, Settled, Verdict, carried, settle
from lvs_agent.decide.virtual_routers import RouterKey
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_agent.errors import LinkNotAsked
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
    lists: DaemonLists

    @property
    def own(self) -> frozenset[bytes]:
        """This node's MAC addresses."""
        return frozenset(device.hardware_address for device in self.links.devices.values())

    def speakers(self, one: PlacedRouter) -> dict[IPAddress, str]:
        """From where others speak, of which one may carry the virtual router. Beside a Master they are strangers."""
        return speakers(one, self.senders) if one.key not in self.masters else {}


class _Topic(NamedTuple):
    """What is asked about by itself."""

    router: RouterKey
    is_added: bool = False
    """The addresses of a virtual router that has begun which it does not carry yet."""


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
    """The addresses of one virtual router that are asked about."""

    due: float
    look: _Look | None = None
    suspects: bool = False
    """Somebody answered the last time: real servers are asked, too."""
    is_sure: bool = False
    """The last look found what the one before had found."""
    blocker: AddressBinding | None = None
    """While somebody answers for this one the director does not begin, whatever becomes of the others."""
    is_urgent: bool = False
    """Somebody speaks who is not known by a MAC address: the next question bears no delay."""
    question: _Question | None = None

    def begin_anew(self, now: float) -> None:
        """Nothing is known, and the question is due."""
        self.look, self.suspects, self.is_sure, self.blocker, self.due = None, False, False, None, now


class _Asked(NamedTuple):
    """What a topic is about in a round."""

    one: PlacedRouter
    bindings: tuple[AddressBinding, ...]


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
        self._questions = LinkQuestions(probe)
        self._announcer = announcer
        self._metrics = metrics
        self._monotonic = monotonic
        self._wake = wake
        self._begun: frozenset[RouterKey] = frozenset()
        self._admitted: frozenset[IPAddress] = frozenset()
        """Addresses of those that have begun which are carried, or were asked for before they may be."""
        self._watches: dict[_Topic, _Watch] = {}
        self._defended: dict[AddressBinding, float] = {}
        self.directors: dict[str, dict[str, frozenset[bytes]]] = {}
        """The MAC addresses of the other directors, by group and Node, as they answered the last time that they did."""

    @property
    def is_asking(self) -> bool:
        """Whether an answer is still to be taken."""
        return any(watch.question is not None for watch in self._watches.values())

    def judge(self, scene: Scene) -> Settled:
        """What must not be carried now, and which addresses somebody else has. Asks what is due."""
        now = self._monotonic()
        self._begun = (self._begun | scene.begun | scene.masters) & {one.key for one in scene.placed}
        begun = [one for one in scene.placed if one.key in self._begun]
        self._admitted = carried(begun, self._admitted, scene.links.bindings(), scene.lists)
        topics: dict[_Topic, _Asked] = {}
        verdicts: dict[RouterKey, Verdict] = {}
        conflicts: dict[AddressBinding, Fault] = {}
        for one in scene.placed:
            bindings = _askable(one, scene)
            added = tuple(binding for binding in bindings if binding.address not in self._admitted)
            if one.key not in self._begun:
                if one.key in scene.ready:
                    asked = topics[_Topic(one.key)] = _Asked(one, bindings)
                    verdicts[one.key] = self._begin(asked, scene, now) if bindings else Verdict()
                continue
            known = tuple(binding for binding in bindings if binding.address in self._admitted)
            if one.key in scene.masters and known:
                asked = topics[_Topic(one.key)] = _Asked(one, known)
                conflicts |= self._look_around(asked, scene, now)
            if added:
                asked = topics[_Topic(one.key, is_added=True)] = _Asked(one, added)
                verdicts[one.key] = self._take_on(asked, scene, now)
        settled = settle(scene.placed, verdicts, scene.lists)
        free = verdicts.keys() - settled.waiting.keys() - settled.staying
        for one in scene.placed:
            if one.key in free:
                self._admit(one, settled.left_out, topics)
        for gone in self._watches.keys() - topics.keys():
            self._forget(gone)
        self._ask_due(topics, scene, now)
        return replace(settled, conflicts={**conflicts, **settled.conflicts})

    async def close(self) -> None:
        """End the questions under way."""
        tasks = [watch.question.task for watch in self._watches.values() if watch.question is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _admit(self, one: PlacedRouter, left_out: AbstractSet[AddressBinding], topics: dict[_Topic, _Asked]) -> None:
        """It carries all but these from now on, and goes on asking for them."""
        staying = {binding.address for binding in one.bindings if binding not in left_out}
        if not staying:
            return
        self._admitted |= staying
        if one.key in self._begun:
            return
        self._begun |= {one.key}
        asked = topics.pop(_Topic(one.key))
        added = tuple(binding for binding in asked.bindings if binding in left_out)
        watch = self._watches.pop(_Topic(one.key), None)
        if added and watch is not None:
            topics[_Topic(one.key, is_added=True)] = _Asked(one, added)
            self._watches[_Topic(one.key, is_added=True)] = watch
        elif watch is not None and watch.question is not None:
            watch.question.task.cancel()

    def _begin(self, asked: _Asked, scene: Scene, now: float) -> Verdict:
        """Which addresses must not be carried, of a virtual router that does not take part yet.

        Where its other family does, that one does not wait for these.
        """
        key = asked.one.key
        verdict, is_sure = self._ask_before(_Topic(key), asked, scene, now)
        if verdict.left and not is_sure:
            verdict = Verdict(waiting=next(iter(verdict.left.values())))
        if verdict.waiting is not None and any((one.group, one.id) == (key.group, key.id) for one in self._begun):
            why = verdict.waiting if not verdict.left else _asking(asked.bindings[0])
            return Verdict(left={**dict.fromkeys(asked.one.bindings, why), **verdict.left})
        return verdict

    def _take_on(self, asked: _Asked, scene: Scene, now: float) -> Verdict:
        """Which addresses must not be carried, of those that were added to a virtual router that takes part."""
        verdict, _ = self._ask_before(_Topic(asked.one.key, is_added=True), asked, scene, now)
        if verdict.waiting is not None and not verdict.left:
            return Verdict(left=dict.fromkeys(asked.bindings, verdict.waiting))
        return Verdict(left=verdict.left)

    def _ask_before(self, topic: _Topic, asked: _Asked, scene: Scene, now: float) -> tuple[Verdict, bool]:
        """Which addresses must not be carried, the first to be named first, and whether that was found twice."""
        one, bindings = asked
        watch = self._watches.setdefault(topic, _Watch(due=now))
        if self._collect(watch, bindings, scene, now) and watch.is_sure:
            watch.due = now + RETRY_SECONDS
        if watch.look is not None and not watch.look.asked.issuperset(bindings):
            watch.begin_anew(now)  # it has other addresses by now, or they are on other devices
        look = watch.look
        if look is not None and look.failure is not None:
            return Verdict(waiting=Fault(reason=Reason.KERNEL_REFUSED, message=look.failure)), False
        if look is None or (not watch.suspects and now - look.at > CLEAR_SECONDS):
            return Verdict(waiting=_asking(bindings[0])), False
        watch.blocker = None
        who = look.who(bindings, scene.own)
        speaking = scene.speakers(one).keys()
        heard = speaking & look.known.speakers.keys()
        if who and speaking and not heard:
            watch.due, watch.is_urgent = now, True
        situation = Situation(
            by_stored_view=scene.plan.by_stored_view,
            is_spoken=bool(heard),
            are_told_apart=are_told_apart(one, look.answers, look.known, heard),
        )
        found = {binding: hindrance(one, mine, situation) for binding, mine in who.items()}
        hindered = sorted(
            (binding for binding, what in found.items() if what is not Hindrance.NOTHING),
            key=lambda binding: (not who[binding].strangers, str(binding.address)),
        )
        if not hindered:
            return Verdict(), watch.is_sure
        if not watch.is_sure:
            return Verdict(left={binding: _asking(binding) for binding in hindered}), False
        watch.blocker = hindered[0]
        left = {binding: not_begun(binding, who[binding]) for binding in hindered}
        waiting = left[hindered[0]] if Hindrance.ROUTER in found.values() else None
        return Verdict(waiting=waiting, left=left, is_spoken=bool(heard)), True

    def _look_around(self, asked: _Asked, scene: Scene, now: float) -> dict[AddressBinding, Fault]:
        """The addresses of a Master that somebody else has, too; they are defended when that has just been seen."""
        one, bindings = asked
        watch = self._watches.setdefault(_Topic(one.key), _Watch(due=now + FIRST_LOOK_SECONDS))
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
        due = sorted(bindings - self._defended.keys(), key=str)
        self._defended |= dict.fromkeys(due, now)
        tell_neighbours(self._announcer, self._metrics, due)

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

    def _ask_due(self, topics: Mapping[_Topic, _Asked], scene: Scene, now: float) -> None:
        watched = sum(len(asked.bindings) for asked in topics.values())
        watched += sum(watch.look.known.count for watch in self._watches.values() if watch.look is not None)
        spacing = watched * _FRAMES_AN_ADDRESS / FRAMES_A_SECOND
        directors = {director.group: director for director in scene.plan.directing}
        for topic, watch in self._watches.items():
            is_repeated = watch.is_sure or (topic.router in self._begun and not topic.is_added)
            is_spaced = watch.look is not None and is_repeated and not watch.is_urgent
            earliest = watch.look.at + spacing if watch.look is not None and is_spaced else now
            blocker = watch.blocker if now < earliest else None
            if watch.question is not None or now < watch.due or (now < earliest and blocker is None):
                continue
            one, bindings = topics[topic]
            addresses = {binding.address for binding in bindings}
            known = acquaintances(directors[one.key.group], addresses, scene.speakers(one), with_servers=watch.suspects)
            if blocker is not None:
                bindings, known = (blocker,), Acquaintances(network=known.network)
            watch.is_urgent = False
            task = asyncio.get_running_loop().create_task(self._questions.ask(one.device, bindings, known, scene.links))
            task.add_done_callback(lambda _: self._wake())
            watch.question = _Question(
                asked=frozenset(bindings), known=known, task=task, is_about_blocker=blocker is not None
            )

    def _forget(self, topic: _Topic) -> None:
        watch = self._watches.pop(topic, None)
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
