"""Asks the link whether somebody else has an address before this node takes it.

Questions run as tasks beside the loop; what is to be bound waits for its answer, nothing else does. All addresses that
wait are asked for at once. Only a director's VIPs are asked for: on a real server it is right that another machine
answers for the address, the active director.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from lvs_agent.decide.claimants import REMEDY
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks
from lvs_agent.errors import LinkNotAsked
from lvs_agent.kernel.interface import DuplicateProbe
from lvs_api.conditions import Reason

CLEAR_SECONDS: Final = 2.0
"""So long after it was asked for in vain an address may be bound; later it is asked for again."""
FIRST_RETRY: Final = 1.0
"""A former holder may be letting go just now."""
LONGEST_RETRY: Final = 30.0
_NAMED: Final = 3

Answers = Mapping[IPAddress, frozenset[bytes]]
Ignored = Mapping[IPAddress, frozenset[bytes]]
"""MAC addresses by which the network answers for others, by VIP."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was found; None: nobody has it."""

    fault: Fault | None
    until: float
    delay: float


@dataclass(frozen=True, slots=True)
class _Question:
    bindings: frozenset[AddressBinding]
    task: asyncio.Task[Answers]


class DuplicateKeeper:
    """Owner of the seam for duplicate probes. `wake` is called when an answer is there."""

    def __init__(self, probe: DuplicateProbe, *, monotonic: Callable[[], float], wake: Callable[[], None]) -> None:
        self._probe = probe
        self._monotonic = monotonic
        self._wake = wake
        self._verdicts: dict[AddressBinding, _Verdict] = {}
        self._questions: list[_Question] = []
        self._ignored: Ignored = {}

    def judge(
        self, wanted: AbstractSet[AddressBinding], links: KernelLinks, ignored: Ignored
    ) -> dict[AddressBinding, Fault]:
        """Those of the bindings that must not be made now, and why; the link was asked for all others just now."""
        now = self._monotonic()
        if ignored != self._ignored:
            before, self._ignored = self._ignored, ignored
            same = [one for one in self._verdicts if ignored.get(one.address) == before.get(one.address)]
            self._verdicts = {binding: self._verdicts[binding] for binding in same}
        self._collect(now, links)
        self._verdicts = {binding: verdict for binding, verdict in self._verdicts.items() if binding in wanted}
        askable = {binding for binding in wanted if can_be_asked(binding.device, links)}
        self._ask(binding for binding in askable if self._is_due(binding, now))
        waiting: dict[AddressBinding, Fault] = {}
        for binding in askable:
            verdict = self._verdicts.get(binding)
            if verdict is None or (verdict.fault is None and verdict.until <= now):
                waiting[binding] = _asking(binding)
            elif verdict.fault is not None:
                waiting[binding] = verdict.fault
        return waiting

    @property
    def is_asking(self) -> bool:
        """Whether an answer is still to be taken."""
        return bool(self._questions)

    async def close(self) -> None:
        """End the questions under way."""
        tasks = [question.task for question in self._questions]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_due(self, binding: AddressBinding, now: float) -> bool:
        verdict = self._verdicts.get(binding)
        under_way = any(binding in question.bindings for question in self._questions)
        return not under_way and (verdict is None or verdict.until <= now)

    def _ask(self, due: Iterable[AddressBinding]) -> None:
        by_device: dict[str, set[AddressBinding]] = {}
        for binding in due:
            by_device.setdefault(binding.device, set()).add(binding)
        for device, bindings in by_device.items():
            asking = self._probe.ask(device, {binding.address for binding in bindings})
            task = asyncio.get_running_loop().create_task(asking)
            task.add_done_callback(lambda _: self._wake())
            self._questions.append(_Question(frozenset(bindings), task))

    def _collect(self, now: float, links: KernelLinks) -> None:
        """Take the answers that came. Raises what a question failed with, unless the link could not be asked."""
        done = [question for question in self._questions if question.task.done()]
        self._questions = [question for question in self._questions if not question.task.done()]
        own = {device.hardware_address for device in links.devices.values()}
        for question in done:
            try:
                answers = question.task.result()
            except LinkNotAsked as error:
                fault = Fault(reason=Reason.KERNEL_REFUSED, message=str(error))
                failed = _Verdict(fault, now + FIRST_RETRY, FIRST_RETRY)
                self._verdicts |= dict.fromkeys(question.bindings, failed)
                continue
            for binding in question.bindings:
                strangers = answers.get(binding.address, frozenset()) - own
                strangers -= self._ignored.get(binding.address, frozenset())
                self._verdicts[binding] = self._verdict(binding, strangers, now)

    def _verdict(self, binding: AddressBinding, strangers: frozenset[bytes], now: float) -> _Verdict:
        if not strangers:
            return _Verdict(None, now + CLEAR_SECONDS, FIRST_RETRY)
        before = self._verdicts.get(binding)
        delay = min(2 * before.delay, LONGEST_RETRY) if before is not None and before.fault else FIRST_RETRY
        return _Verdict(_conflict(binding, strangers), now + delay, delay)


def can_be_asked(device: str, links: KernelLinks) -> bool:
    """Whether there are neighbours who could answer: not behind a point-to-point or dummy device."""
    found = links.devices.get(device)
    return found is not None and found.arp_capable and bool(found.hardware_address)


def _asking(binding: AddressBinding) -> Fault:
    return Fault(
        reason=Reason.PENDING,
        message=f"asking the link of {binding.device} whether somebody has {binding.address}; then it is bound",
    )


def _conflict(binding: AddressBinding, strangers: frozenset[bytes]) -> Fault:
    named = ", ".join(sorted(mac.hex(":") for mac in strangers)[:_NAMED])
    return Fault(
        reason=Reason.ADDRESS_CONFLICT,
        message=f"{named} answers for {binding.address} on the link of {binding.device}: neither bound nor announced "
        f"here until that machine has given it up. {REMEDY}",
    )
