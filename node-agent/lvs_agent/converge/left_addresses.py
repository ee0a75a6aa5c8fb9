"""Takes off what a VRRP daemon left that nobody starts again, where another director has it by now.

The supervisor does that when it starts, and a kubelet starts it again within a second or two. Where it does not come
(the kubelet is down, the image is gone, the container is in its back-off), the address would stay here beside the next
Master, and neighbours find now the one, now the other. Where nobody else answers for it, it stays: it is served here.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

from lvs_agent.converge.duplicates import can_be_asked
from lvs_agent.converge.link_questions import LinkQuestions
from lvs_agent.decide.changes import UnbindAddress
from lvs_agent.decide.claimants import acquaintances, claimants
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks
from lvs_agent.errors import LinkNotAsked, StateFileDamaged, StateNotWritten
from lvs_agent.kernel.interface import DuplicateProbe, Links
from lvs_agent.vrrp.shared_directory import VrrpDirectory
from lvs_core.plan import DirectorPlan, Holding, NodePlan

ABANDONED_SECONDS: Final = 5.0
"""So long nobody has held the directory. A container that ends for the first time is back sooner, and its supervisor
takes off what is left; each further time a kubelet waits 10 s and longer."""
AGAIN_SECONDS: Final = 1.0
"""Who answered may have been letting go just then."""
LOOK_SECONDS: Final = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftSeams:
    """What it works with."""

    links: Links
    probe: DuplicateProbe
    is_spoken: Callable[[], bool]
    """Whether a VRRP daemon lives in this network namespace, with a supervisor or without."""


class _Router(NamedTuple):
    """All addresses of a group that move together: both families, and gateways on a link of their own."""

    group: str
    id: int


class LeftAddressKeeper:
    """Owner of what is known of addresses without a daemon. `wake` is called when an answer is there."""

    def __init__(
        self,
        directory: VrrpDirectory,
        seams: LeftSeams,
        *,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._seams = seams
        self._questions = LinkQuestions(seams.probe)
        self._monotonic = monotonic
        self._wake = wake
        self._since: float | None = None
        self._due = 0.0
        self._question: asyncio.Task[frozenset[_Router]] | None = None
        self._elsewhere: frozenset[_Router] = frozenset()
        """Those that another director had the last time."""
        self._taken: frozenset[AddressBinding] = frozenset()
        self._left: frozenset[AddressBinding] = frozenset()

    @property
    def is_asking(self) -> bool:
        """Whether an answer is still to be taken."""
        return self._question is not None

    @property
    def said(self) -> str:
        """What became of the addresses, to follow what is said of the daemon; empty where there is nothing to say."""
        taken = f"; taken off, for another director has it: {_named(self._taken)}" if self._taken else ""
        left = f"; still on this node: {_named(self._left)}" if self._left else ""
        return taken + left

    async def follow(self, plan: NodePlan, owned: AbstractSet[AddressBinding]) -> None:
        """Look once. What is `owned` is the agent's, and not the daemon's. Raises LinkError and PermissionRefused."""
        now = self._monotonic()
        routers = _with_others(plan)
        if not routers or self._directory.has_supervisor():
            await self._forget()
            return
        self._since = now if self._since is None else self._since
        if now - self._since < ABANDONED_SECONDS or self._seams.is_spoken():
            self._left = frozenset()
            return
        links = await self._seams.links.read()
        left = {one: routers[one.address] for one in self._bound() & links.bindings() - owned if one.address in routers}
        self._left = frozenset(left)
        if self._question is not None and self._question.done():
            question, self._question = self._question, None
            found = question.result()
            sure, self._elsewhere = found & self._elsewhere, found
            self._due = now + (AGAIN_SECONDS if found else LOOK_SECONDS)
            if sure:
                await self._take_off({one for one, router in left.items() if router in sure})
        elif self._question is None and now >= self._due:
            directors = {one.group: one for one in plan.directing}
            asked = _asked(left, directors, links)
            if asked:
                self._question = asyncio.get_running_loop().create_task(self._ask(asked, directors, links))
                self._question.add_done_callback(lambda _: self._wake())

    async def close(self) -> None:
        """End the question under way."""
        question, self._question = self._question, None
        if question is not None:
            question.cancel()
            await asyncio.gather(question, return_exceptions=True)

    async def _forget(self) -> None:
        """Somebody runs the daemon, or it is not known that nobody shall."""
        await self.close()
        self._since, self._due = None, 0.0
        self._elsewhere, self._taken, self._left = frozenset(), frozenset(), frozenset()

    def _bound(self) -> frozenset[AddressBinding]:
        """What the daemon may have put on devices; nothing where that can not be read, which is told already."""
        try:
            return self._directory.read_bound()
        except StateFileDamaged:
            return frozenset()

    async def _ask(
        self, asked: Mapping[AddressBinding, _Router], directors: Mapping[str, DirectorPlan], links: KernelLinks
    ) -> frozenset[_Router]:
        """Those of which another director answers for an address."""
        own = {device.hardware_address for device in links.devices.values()}
        found: set[_Router] = set()
        for device, group in sorted({(binding.device, router.group) for binding, router in asked.items()}):
            mine = {one.address: asked[one] for one in asked if (one.device, asked[one].group) == (device, group)}
            known = acquaintances(directors[group], mine.keys(), {}, with_servers=False)
            bindings = [one for one in asked if one.device == device and one.address in mine]
            try:
                answers = await self._questions.ask(device, bindings, known, links)
            except LinkNotAsked:
                continue  # nobody there finds this node either
            found |= {router for address, router in mine.items() if claimants(address, answers, known, own).directors}
        return frozenset(found)

    async def _take_off(self, bindings: AbstractSet[AddressBinding]) -> None:
        """Under the supervisor's lock: one that begins meanwhile waits for that, and finds what is true then."""
        with self._directory.unsupervised() as nobody_else:
            if not nobody_else or self._seams.is_spoken():
                return
            bound = self._bound()
            gone = bound & bindings & (await self._seams.links.read(fresh=True)).bindings()
            _log.warning("nobody runs the VRRP daemon, and another director has them: taking off %s", _named(gone))
            failures = await self._seams.links.apply([UnbindAddress(binding=one) for one in sorted(gone, key=str)])
            for failure in failures:
                _log.warning("%s", failure.error)
            gone -= {failure.change.binding for failure in failures}
            self._taken, self._left = self._taken | gone, self._left - gone
            try:
                self._directory.write_bound(bound - gone)
            except StateNotWritten as error:
                _log.warning("%s", error)


def _with_others(plan: NodePlan) -> dict[IPAddress, _Router]:
    """The addresses that another director of the group may carry, with the virtual router of each."""
    return {
        address: _Router(director.group, router.id)
        for director in plan.directing
        if director.holding is Holding.VRRP and director.vrrp is not None and director.others
        for router in director.vrrp.routers
        for address in router.addresses
    }


def _asked(
    left: Mapping[AddressBinding, _Router], directors: Mapping[str, DirectorPlan], links: KernelLinks
) -> dict[AddressBinding, _Router]:
    """A VIP of each virtual router. On a gateway's link the other directors are not known."""
    chosen: dict[_Router, AddressBinding] = {}
    for one in sorted(left, key=str):
        if one.address in directors[left[one].group].addresses and can_be_asked(one.device, links):
            chosen.setdefault(left[one], one)
    return {one: router for router, one in chosen.items()}


def _named(bindings: Collection[AddressBinding]) -> str:
    return ", ".join(sorted(f"{one.address} on {one.device}" for one in bindings))
