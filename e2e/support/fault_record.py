"""Records all that tells who owns a virtual router's address while something is broken, and prints it as figures.

From all sides at once: echo requests each millisecond, connections at a steady rate, adverts and gratuitous ARP as they
pass on the link, and answers to one who asks the link all the time.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from lvs_lab.lab_machine import Capture
from lvs_lab.waiting import wait_for
from support.chosen_agents import advert_milliseconds
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.fault_figures import Heard, Sign, Span, longest_silence, read_packet, seconds_together, spans, timeline
from support.neighbours import asking
from support.steady_load import LoadReport, ProbeReport, steady_load, steady_probes

_ADVERTS_OF_A_PAUSE: Final = 4.5
"""Longer than a Backup waits, so that who is silent for less goes on to own the address."""
_ANSWER_PAUSE: Final = 0.25
"""Of answers to questions each 20 ms."""
_FILTER: Final = ("arp", "or", "ip", "proto", "112")


@dataclass(kw_only=True)
class FaultRecord:
    """What was heard; whole once the context has ended."""

    what: str
    pair: DirectorPair
    names: dict[str, str]
    """Directors by their MAC addresses."""
    captures: list[Capture] = field(default_factory=list)
    probes: dict[str, ProbeReport] = field(default_factory=dict)
    """By client."""
    loads: dict[str, LoadReport] = field(default_factory=dict)
    """By client."""
    began: float = 0.0
    """The moment of the fault."""

    def fault(self) -> None:
        """Now comes the fault; times are told from here on."""
        self.began = time.time()

    def heard(self) -> list[Heard]:
        """The claims so far, by all who listen; what two hear counts once."""
        lines = [line for capture in self.captures for line in capture.lines()]
        found = (read_packet(line, self.pair.vip, self.pair.router_id) for line in lines)
        return sorted({one for one in found if one is not None})

    def owned(self, sign: Sign) -> list[Span]:
        """Who owned the address from when to when, by signs of one kind."""
        advert_pause = _ADVERTS_OF_A_PAUSE * advert_milliseconds() / 1000
        return spans(self.heard(), sign, advert_pause if sign is Sign.ADVERT else _ANSWER_PAUSE)

    def masters(self) -> list[str]:
        """Who has sent adverts, in the order of their times as Master; one who only paused counts once."""
        return [name for name, _ in groupby(self.names.get(span.mac, span.mac) for span in self.owned(Sign.ADVERT))]

    def seconds_of_two_masters(self) -> float:
        """For how long two sent adverts at once."""
        return seconds_together(self.owned(Sign.ADVERT))

    def announced_by(self, name: str) -> list[Heard]:
        """The gratuitous ARP of a director since the fault."""
        since = [one for one in self.heard() if one.sign is Sign.GRATUITOUS and one.at >= self.began]
        return [one for one in since if self.names.get(one.mac) == name]

    def adverts_of(self, name: str) -> int:
        """How many adverts a director has sent since the fault."""
        since = [one for one in self.heard() if one.sign is Sign.ADVERT and one.at >= self.began]
        return sum(self.names.get(one.mac) == name for one in since)

    def silence(self, client: str) -> float:
        """The longest time in which a client got no reply."""
        probe = self.probes[client]
        return longest_silence(probe.replies, probe.ended)

    def show(self) -> None:
        """Print the figures."""
        print(f"--- {self.what}")
        for name, probe in self.probes.items():
            print(
                f"{name}: {self.silence(name):.3f} s without a reply, {len(probe.replies)} replies to {probe.sent} "
                f"requests, {probe.unsent} more without a way, {probe.left_out} left out"
            )
        for name, load in self.loads.items():
            print(f"{name}: {load}")
        for sign in (Sign.ADVERT, Sign.ANSWER):
            words = "; ".join(timeline(self.owned(sign), self.names, self.began))
            print(f"owners by {sign}: {words or 'none'}")
        print(f"two Masters at once for {self.seconds_of_two_masters():.3f} s")
        for name in self.pair.names:
            moments = ", ".join(f"{one.at - self.began:+.3f}" for one in self.announced_by(name))
            print(f"gratuitous ARP of {name}: {moments or 'none'}")


@contextmanager
def recording(
    pair: DirectorPair,
    what: str,
    *,
    clients: Sequence[str],
    watchers: Sequence[str],
    rate: int = 100,
) -> Iterator[FaultRecord]:
    """Record for as long as the context lasts, and print what came of it; all is at work when it begins.

    Each client probes the address and makes `rate` connections a second to its port 80; each watcher listens on its
    link, and asks there, so that what it is told teaches no client.
    """
    lab = pair.deployment.lab
    record = FaultRecord(what=what, pair=pair, names=dict(pair.macs), began=time.time())
    try:
        with ExitStack() as stack:
            for name in watchers:
                record.captures.append(stack.enter_context(lab.machine(name).capture(*_FILTER)))
                stack.enter_context(asking(lab.machine(name), pair.vip))
            for name in clients:
                namespace = pair.deployment.client_namespace(name)
                record.loads[name] = stack.enter_context(steady_load(namespace, pair.vip, rate))
                record.probes[name] = stack.enter_context(steady_probes(namespace, pair.vip))
            # Who owned it before the fault is a part of the record.
            signs = {Sign.ADVERT, Sign.ANSWER}
            wait_for(lambda: signs <= {one.sign for one in record.heard()}, TAKE_OVER_SECONDS, "the owner to be heard")
            yield record
    finally:
        record.show()
