"""One question to the links of a virtual router: who answers for its addresses, and for those of acquaintances."""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from lvs_agent.decide.asking_addresses import asking_addresses
from lvs_agent.decide.claimants import Acquaintances, Answers, counted
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks
from lvs_agent.errors import LinkNotAsked
from lvs_agent.kernel.interface import DuplicateProbe


class LinkQuestions:
    """Asks by the seam for duplicate probes."""

    def __init__(self, probe: DuplicateProbe) -> None:
        self._probe = probe

    async def ask(
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
        others = known.addresses
        # Another director that asks at the same moment has nothing yet: with it VRRP settles it.
        asking = [self._probe.ask(device, mine, heed_probes=False)]
        if others:
            own = asking_addresses(device, links)
            asking.append(self._probe.ask(device, others, heed_probes=False, sources=own))
        answers = await asyncio.gather(*asking)
        return {address: macs for one in answers for address, macs in one.items()}
