"""P11: how long nobody answers when the active director loses its power, beside keepalived alone, and kube-vip.

All kinds run on the same two machines at once, each with an address (and a virtual router) of its own, and lose their
power in the same moment: every repetition compares them. How long it takes depends most on how long ago the last advert
was. So the power-offs are spread evenly over the time between two adverts of ours, and with these over that between two
of keepalived alone: both go on at the same interval, however far apart.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Final, Protocol

from bench.director_kinds import READY_SECONDS, Ours, Peers
from bench.figure import Figure, Goal, Measured
from bench.keepalived_pair import PeerSetup
from bench.kube_vip_pair import KubeVip
from lvs_lab.waiting import wait_for
from support.director_pair import DirectorPair
from support.fault_figures import Sign, longest_silence, read_packet
from support.fault_lab import DIRECTORS, NAME
from support.neighbours import mac_of
from support.steady_load import ProbeReport, steady_probes

OURS: Final = "ours: without a reply"
PEER: Final = "keepalived alone: without a reply"
LEASES: Final = "kube-vip, Lease 5/3/1 s: without a reply"
INTERVALS: Final = (1000, 100, 10)
_JUDGED: Final = (1000, 100)
_PEER_VIP, _PEER_ID = "192.168.67.128", 68
_LEASES_VIP: Final = "192.168.67.129"
_PRIORITIES: Final = dict(zip(DIRECTORS, (150, 100), strict=True))
_ADVERTS_OF_EACH: Final = 2
"""Heard before the power goes: the other director has heard them, too."""


class Rival(Protocol):
    """What runs beside ours on the same two machines."""

    @property
    def pair(self) -> DirectorPair:
        """With its own address."""

    def join(self, name: str) -> None:
        """Have a director take part."""

    def leave(self, name: str) -> None:
        """Have it end."""

    def wait_roles(self, master: str) -> None:
        """Wait until this one has the address, and the other one, if it takes part, watches it."""


def figure(interval: int, *, leases: bool) -> Figure:
    """At one interval of adverts, in milliseconds; with or without kube-vip."""
    bounds = ((PEER, 1.05), (LEASES, 0.5)) if leases else ((PEER, 1.05),)
    return Figure(
        name="P11",
        title=f"power-off of the active director, adverts each {interval} ms",
        ways={},
        ours=OURS,
        goals=tuple(Goal(series=OURS, peer=peer, at_most=bound) for peer, bound in bounds if interval in _JUDGED),
    )


def delays(repetitions: int, interval: int) -> list[float]:
    """How long after an advert to cut the power, in seconds: spread evenly over the interval (in milliseconds)."""
    return [interval / 1000 * (number + 0.5) / repetitions for number in range(repetitions)]


def next_moment(advert: float, now: float, *, delay: float, interval: int) -> float:
    """The first moment from now on that is so long after an advert: after that one, or so many intervals later."""
    first, step = advert + delay, interval / 1000
    return first + step * max(0, ceil((now - first) / step))


def measure(pair: DirectorPair, interval: int, repetitions: int, kube_vip: Path | None) -> Measured:
    """So many power-offs of whoever is Master; the lab is as it was afterwards, but for the interval.

    kube-vip takes part where its program is named.
    """

    def setup(name: str) -> PeerSetup:
        return PeerSetup(vip=_PEER_VIP, router_id=_PEER_ID, priority=_PRIORITIES[name], interval_milliseconds=interval)

    pair.deployment.patch("lvsdg", NAME, {"vrrp": {"advertIntervalMilliseconds": interval}})
    for name in DIRECTORS:
        _wait_interval(pair, name, interval)
    ours, peers = Ours(pair=pair), Peers(pair=replace(pair, vip=_PEER_VIP, router_id=_PEER_ID), setup=setup)
    leases = KubeVip(pair=replace(pair, vip=_LEASES_VIP), program=kube_vip) if kube_vip else None
    rivals: dict[str, Rival] = {PEER: peers}
    master = pair.master()
    peers.join(master)
    peers.wait_first(master)
    peers.join(pair.other(master))
    if leases is not None:
        rivals[LEASES] = leases
        leases.allow()
        leases.join(master)
        leases.wait_roles(master)
        leases.join(pair.other(master))
    measured = Measured(series={OURS: [], **{series: [] for series in rivals}}, repetitions={OURS: repetitions})
    for delay in delays(repetitions, interval):
        when = partial(next_moment, delay=delay, interval=interval)
        master = _one(ours, rivals, master, when, measured)
    for rival in rivals.values():
        for name in DIRECTORS:
            rival.leave(name)
    return measured


def _one(
    ours: Ours, rivals: Mapping[str, Rival], master: str, when: Callable[[float, float], float], measured: Measured
) -> str:
    """Power off; who is Master then."""
    new = ours.pair.other(master)
    for kind in (ours, *rivals.values()):
        kind.wait_roles(master)
    pairs = {OURS: ours.pair, **{series: rival.pair for series, rival in rivals.items()}}
    deployment = ours.pair.deployment
    namespace = deployment.client_namespace(ours.pair.client_name)
    with ExitStack() as stack:
        probes: dict[str, ProbeReport] = {
            series: stack.enter_context(steady_probes(namespace, pair.vip)) for series, pair in pairs.items()
        }
        advert = _last_advert((pairs[OURS], pairs[PEER]), master)
        # When the power goes is a part of what is measured: nothing tells of this moment.
        time.sleep(max(0.0, when(advert, time.time()) - time.time()))
        deployment.lab.guest(master).power_off()
        # Nothing is asked of the other director meanwhile: it has other things to do.
        for pair in pairs.values():
            _wait_answer(pair)
    for series, pair in pairs.items():
        assert pair.owners() == [new], (series, pair.owners())
    for series, probe in probes.items():
        measured.series[series].append(1000 * longest_silence(probe.replies, probe.ended))
    ours.boot(master)
    for rival in rivals.values():
        rival.join(master)
    return new


def _last_advert(pairs: tuple[DirectorPair, ...], master: str) -> float:
    """When the first pair's Master was last heard, once some adverts of each pair have been; seconds since 1970.

    Raises DeadlineError where anybody else is heard.
    """
    mac = mac_of(pairs[0].deployment.lab.guest(master))
    with pairs[0].client.capture("ip", "proto", "112") as capture:

        def adverts(pair: DirectorPair) -> list[float]:
            packets = (read_packet(line, pair.vip, pair.router_id) for line in capture.lines())
            heard = [one for one in packets if one is not None and one.sign is Sign.ADVERT]
            assert {one.mac for one in heard} <= {mac}, heard
            return [one.at for one in heard]

        def enough() -> bool:
            return all(len(adverts(pair)) >= _ADVERTS_OF_EACH for pair in pairs)

        wait_for(enough, READY_SECONDS, f"adverts of {master}", interval=0.01)
        return adverts(pairs[0])[-1]


def _wait_answer(pair: DirectorPair) -> None:
    ping = ["ping", "-c", "1", "-W", "1", pair.vip]
    wait_for(lambda: pair.client.exec(ping).ok, READY_SECONDS, f"{pair.vip} to answer", interval=0.2)


def _wait_interval(pair: DirectorPair, name: str, interval: int) -> None:
    line = f"advert_int {interval / 1000:g}"
    guest = pair.deployment.lab.guest(name)
    wait_for(
        lambda: line in guest.out("cat", "/run/lvs-agent/vrrp/keepalived.conf"), READY_SECONDS, f"{name} to have {line}"
    )
