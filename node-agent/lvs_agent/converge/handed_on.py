"""Sees to it that what other directors hand on is told apart, before this node can get any, and until it gets no more.

The order: the mark's service and the rules are made; then the virtual services of the VIP, and the VIP is said to be
bound, so that other directors give this node weight. For the rules the other directors' MAC addresses are asked for on
the link, again and again: a network card may be replaced. Who does not answer sends nothing either.
"""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from lvs_agent.converge.table import TableOutcome
from lvs_agent.decide.asking_addresses import asking_addresses
from lvs_agent.decide.handed_on import HandedOn, handed_on, own_vips, ways_to_ask
from lvs_agent.decide.kernel_state import IPAddress, KernelLinks, Route
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.packet_table import HandedOnRule
from lvs_agent.decide.prepared_plan import PreparedPlan, asked_directors
from lvs_agent.errors import LinkNotAsked
from lvs_agent.kernel.interface import DuplicateProbe

SILENT_SECONDS: Final = 2.0
"""Who did not answer is asked again after so long."""
KNOWN_SECONDS: Final = 30.0

Answers = Mapping[IPAddress, frozenset[bytes]]


class HandedOnKeeper:
    """Owner of what is known of the other directors, and of which VIPs are safe. `wake` is called for another round."""

    def __init__(self, probe: DuplicateProbe, *, monotonic: Callable[[], float], wake: Callable[[], None]) -> None:
        self._probe = probe
        self._monotonic = monotonic
        self._wake = wake
        self._macs: dict[IPAddress, frozenset[bytes]] = {}
        """Also of directors that are none any more: they may hand on what they had until all of it has ended."""
        self._asked: dict[IPAddress, float] = {}
        """When each was asked last."""
        self._questions: dict[asyncio.Task[Answers], frozenset[IPAddress]] = {}
        self._unknown: frozenset[str] = frozenset()
        self._guarded: frozenset[IPAddress] = frozenset()
        self._now = HandedOn()
        self.why = ""
        """What the VIPs wait for that are not safe."""

    @property
    def unguarded(self) -> frozenset[IPAddress]:
        """VIPs of which nothing may be made that was not there."""
        return self._now.vips - self._guarded

    @property
    def is_asking(self) -> bool:
        """Whether an answer is still to be taken."""
        return bool(self._questions)

    def look(
        self, prepared: PreparedPlan, owned: OwnedIpvs, routes: Mapping[IPAddress, Route], links: KernelLinks
    ) -> HandedOn:
        """What is needed in this round."""
        self._collect()
        if not own_vips(prepared, owned):
            self._macs, self._asked, self._unknown = {}, {}, frozenset()
        else:
            self._ask(asked_directors(prepared.plan), routes, links)
        # Where the network answers for the others, too, what clients send may come by its MAC address.
        network = frozenset[bytes]().union(*(one.ignored_answers for one in prepared.plan.directing))
        found = handed_on(prepared, owned, frozenset[bytes]().union(*self._macs.values()) - network)
        self._now = self._now if found == self._now else found
        self._guarded &= self._now.vips
        return self._now

    def kept(self, present: AbstractSet[HandedOnRule]) -> frozenset[HandedOnRule]:
        """Rules from before, which go when everybody that may hand on something was asked."""
        return frozenset(rule for rule in present if self._unknown and rule.address in self._now.vips)

    def settle(self, table: TableOutcome, why_not: str | None, rules: AbstractSet[HandedOnRule]) -> None:
        """Judge anew which VIPs are safe, with this table and these rules of the packet filter.

        One that is safe stays so: what other hands take away is made again, and a director that is new has yet to be
        asked for when it has nothing to hand on.
        """
        needed, missing = self._now, {key for key in self._now.services if key not in table.present}
        faults = [table.faults[key].message for key in needed.services if key in table.faults]
        self.why = needed.lacks or why_not or next(iter(faults), "") or self._waits_for(is_missing=bool(missing))
        if needed.lacks is None and not missing and not faults and needed.rules <= rules:
            safe = needed.vips & {rule.address for rule in rules} if self._unknown else needed.vips
            if not safe <= self._guarded:
                self._guarded |= safe
                self._wake()

    def _waits_for(self, *, is_missing: bool) -> str:
        if is_missing or not self._unknown:
            return "what other directors hand on is not told apart yet"
        return f"asking the link for the MAC addresses of the directors {', '.join(sorted(self._unknown))}"

    async def close(self) -> None:
        """End the questions under way."""
        for task in self._questions:
            task.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)

    def _ask(
        self, directors: Mapping[str, tuple[IPAddress, ...]], routes: Mapping[IPAddress, Route], links: KernelLinks
    ) -> None:
        now, ways = self._monotonic(), ways_to_ask(directors, routes, links)
        self._unknown = frozenset(
            name for name, own in directors.items() if any(one in ways and one not in self._asked for one in own)
        )
        under_way = frozenset[IPAddress]().union(*self._questions.values())
        by_device: dict[str, set[IPAddress]] = {}
        for address, device in ways.items():
            patience = KNOWN_SECONDS if address in self._macs else SILENT_SECONDS
            if address not in under_way and self._asked.get(address, -patience) + patience <= now:
                by_device.setdefault(device, set()).add(address)
        for device, addresses in by_device.items():
            asking = self._probe.ask(device, addresses, heed_probes=False, sources=asking_addresses(device, links))
            task = asyncio.get_running_loop().create_task(asking)
            task.add_done_callback(lambda _: self._wake())
            self._questions[task] = frozenset(addresses)

    def _collect(self) -> None:
        """Take the answers that came. Raises what a question failed with, unless the link could not be asked."""
        for task in [task for task in self._questions if task.done()]:
            addresses = self._questions.pop(task)
            try:
                answers = task.result()
            except LinkNotAsked:
                answers = {}  # nothing comes by it either
            self._asked.update(dict.fromkeys(addresses, self._monotonic()))
            self._macs.update({address: found for address, found in answers.items() if found})
