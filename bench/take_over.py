"""P11: how long nobody answers when the active director loses its power, beside keepalived alone.

Both kinds run on the same two machines at once, each with a virtual router and an address of its own, and lose their
power in the same moment: every repetition is a pair.
"""

from contextlib import ExitStack
from typing import Final

from bench.director_kinds import READY_SECONDS, Kind, Ours, Peers
from bench.figure import Figure, Goal, Measured
from bench.keepalived_pair import PeerSetup
from lvs_lab.waiting import wait_for
from support.director_pair import DirectorPair
from support.fault_figures import longest_silence
from support.fault_lab import DIRECTORS, NAME
from support.steady_load import ProbeReport, steady_probes

OURS: Final = "ours: without a reply"
PEER: Final = "keepalived alone: without a reply"
INTERVALS: Final = (1000, 100, 10)
_JUDGED: Final = (1000, 100)
_PEER_VIP, _PEER_ID = "192.168.67.128", 68
_PRIORITIES: Final = dict(zip(DIRECTORS, (150, 100), strict=True))


def figure(interval: int) -> Figure:
    """At one interval of adverts, in milliseconds."""
    return Figure(
        name="P11",
        title=f"power-off of the active director, adverts each {interval} ms",
        ways={},
        ours=OURS,
        goals=(Goal(series=OURS, peer=PEER, at_most=1.05),) if interval in _JUDGED else (),
    )


def measure(pair: DirectorPair, interval: int, repetitions: int) -> Measured:
    """So many power-offs of whoever is Master; the lab is as it was afterwards, but for the interval."""
    theirs = DirectorPair(
        deployment=pair.deployment,
        names=pair.names,
        client_name=pair.client_name,
        vip=_PEER_VIP,
        router_id=_PEER_ID,
    )

    def setup(name: str) -> PeerSetup:
        return PeerSetup(vip=_PEER_VIP, router_id=_PEER_ID, priority=_PRIORITIES[name], interval_milliseconds=interval)

    pair.deployment.patch("lvsdg", NAME, {"vrrp": {"advertIntervalMilliseconds": interval}})
    for name in DIRECTORS:
        _wait_interval(pair, name, interval)
    ours, peers = Ours(pair=pair), Peers(pair=theirs, setup=setup)
    master = pair.master()
    peers.join(master)
    peers.wait_first(master)
    peers.join(pair.other(master))
    measured = Measured(series={OURS: [], PEER: []}, repetitions={OURS: repetitions})
    for _ in range(repetitions):
        master = _one(ours, peers, master, measured)
    for name in DIRECTORS:
        peers.leave(name)
    return measured


def _one(ours: Kind, peers: Kind, master: str, measured: Measured) -> str:
    """Power off; who is Master then."""
    new = ours.pair.other(master)
    for kind in (ours, peers):
        kind.wait_ready(master)
    deployment = ours.pair.deployment
    namespace = deployment.client_namespace(ours.pair.client_name)
    with ExitStack() as stack:
        probes: dict[str, ProbeReport] = {
            series: stack.enter_context(steady_probes(namespace, kind.pair.vip))
            for series, kind in ((OURS, ours), (PEER, peers))
        }
        deployment.lab.guest(master).power_off()
        for kind in (ours, peers):
            _wait_answer(kind.pair, new)
    for series, probe in probes.items():
        measured.series[series].append(1000 * longest_silence(probe.replies, probe.ended))
    ours.boot(master)
    peers.join(master)
    return new


def _wait_answer(pair: DirectorPair, new: str) -> None:
    wait_for(lambda: pair.owners() == [new], READY_SECONDS, f"{new} to carry {pair.vip}")
    ping = ["ping", "-c", "1", "-W", "1", pair.vip]
    wait_for(lambda: pair.client.exec(ping).ok, READY_SECONDS, f"{pair.vip} to answer")


def _wait_interval(pair: DirectorPair, name: str, interval: int) -> None:
    line = f"advert_int {interval / 1000:g}"
    guest = pair.deployment.lab.guest(name)
    wait_for(
        lambda: line in guest.out("cat", "/run/lvs-agent/vrrp/keepalived.conf"), READY_SECONDS, f"{name} to have {line}"
    )
