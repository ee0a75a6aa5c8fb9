"""All figures about failing over in one table, beside keepalived alone on the same machines in the same run.

P11 has both kinds run at once. For the others keepalived alone takes the place of the agents afterwards, with the same
address, real servers, scheduler and sync daemon.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Final

from bench import hand_over, program_restarts, surviving_connections, take_over, taken_back_connections
from bench.director_kinds import Ours, Peers
from bench.figure import Figure, Measured
from bench.keepalived_pair import PeerSetup
from bench.report import lines_of
from support.director_pair import DirectorPair
from support.fault_lab import DIRECTORS, NAME, ROUTER_ID, SERVERS, VIP, fault_lab, wait_whole
from support.taken_back import DELAY_SECONDS

_OTHERS: Final[Mapping[str, Figure]] = {
    "P12": hand_over.FIGURE,
    "P13": surviving_connections.FIGURE,
    taken_back_connections.NAME: taken_back_connections.FIGURE,
    "P15": program_restarts.FIGURE,
}
NAMES: Final = ("P11", *_OTHERS)
_INTERVAL: Final = 100
_PRIORITIES: Final = dict(zip(DIRECTORS, (150, 100), strict=True))


def main(words: Sequence[str]) -> int:
    """Measure, print each figure as it is known, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench failover", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--repetitions", type=int, default=30, help="of each judged power-off of P11 (default 30)")
    parser.add_argument("--others", type=int, default=5, help="of everything else (default 5)")
    parser.add_argument("--kube-vip", type=Path, help="its program, compiled: it takes part in P11")
    options = parser.parse_args(words)
    if unknown := set(options.figures) - set(NAMES):
        parser.error(f"no figure is called {', '.join(sorted(unknown))}")
    kept = True
    with tempfile.TemporaryDirectory() as directory, fault_lab("bench-failover", Path(directory)) as pair:
        wait_whole(pair)
        for figure, measured in _measured(pair, options):
            print("\n".join(lines_of(figure, measured)), flush=True)
            kept = kept and all(goal.is_kept(measured.series) for goal in figure.goals)
    return 0 if kept else 1


def _measured(pair: DirectorPair, options: argparse.Namespace) -> Iterator[tuple[Figure, Measured]]:
    wanted = options.figures or NAMES
    if "P11" in wanted:
        for interval in take_over.INTERVALS:
            figure = take_over.figure(interval, leases=options.kube_vip is not None)
            repetitions = options.repetitions if figure.goals else ceil(options.repetitions / 3)
            yield figure, take_over.measure(pair, interval, repetitions, options.kube_vip)
    found = {name: Measured() for name in wanted if name != "P11"}
    if found:
        _measure_agents(pair, found, options.others)
        _measure_peers(pair, found, options.others)
    yield from ((_OTHERS[name], found[name]) for name in _OTHERS if name in found)


def _measure_agents(pair: DirectorPair, found: Mapping[str, Measured], others: int) -> None:
    """P13 comes before what makes many connections; surviving_connections.py says why."""
    ours = Ours(pair=pair)
    _share_connections(pair)
    if "P13" in found:
        surviving_connections.measure(ours, others, found["P13"], surviving_connections.OURS)
    _measure_taken_back(ours, found, others, taken_back_connections.OURS)
    _hash(pair)
    if "P13" in found:
        surviving_connections.measure(ours, others, found["P13"], surviving_connections.OURS_HASHED)
    _measure_taken_back(ours, found, others, taken_back_connections.OURS_HASHED)
    if "P12" in found:
        hand_over.measure_asked(ours, others, found["P12"])
        hand_over.measure(ours, others, found["P12"], hand_over.OURS)
    if "P15" in found:
        program_restarts.measure_ours(ours, others, found["P15"])


def _measure_taken_back(ours: Ours, found: Mapping[str, Measured], others: int, way: str) -> None:
    """With preemption, for as long as it takes. A minute each, so as many as a third of the others."""
    if taken_back_connections.NAME not in found:
        return
    patch = ours.pair.deployment.patch
    patch("lvsdg", NAME, {"vrrp": {"preemption": {"delaySeconds": DELAY_SECONDS}}})
    _wait_settings(ours.pair)
    taken_back_connections.measure(ours, ceil(others / 3), found[taken_back_connections.NAME], way)
    patch("lvsdg", NAME, {"vrrp": {"preemption": None}})
    _wait_settings(ours.pair)


def _measure_peers(pair: DirectorPair, found: Mapping[str, Measured], others: int) -> None:
    if "P13" in found:
        peers = _peers_instead(pair, hashing=False)
        surviving_connections.measure(peers, others, found["P13"], surviving_connections.PEER)
    if taken := found.get(taken_back_connections.NAME):
        for way, hashing in ((taken_back_connections.PEER, False), (taken_back_connections.PEER_HASHED, True)):
            peers = _peers_instead(pair, hashing=hashing, preempt_delay_seconds=DELAY_SECONDS)
            taken_back_connections.measure(peers, ceil(others / 3), taken, way)
    peers = _peers_instead(pair, hashing=True)
    if "P13" in found:
        surviving_connections.measure(peers, others, found["P13"], surviving_connections.PEER_HASHED)
    if "P12" in found:
        hand_over.measure(peers, others, found["P12"], hand_over.PEER)
    if "P15" in found:
        program_restarts.measure_peers(peers, others, found["P15"])


def _share_connections(pair: DirectorPair) -> None:
    """Adverts as for the rest, and connections that the directors tell one another of."""
    settings = {
        "vrrp": {"advertIntervalMilliseconds": _INTERVAL},
        "connectionSync": {"interface": "eth0", "syncId": ROUTER_ID},
    }
    pair.deployment.patch("lvsdg", NAME, settings)
    _wait_settings(pair)


def _hash(pair: DirectorPair) -> None:
    """A scheduler that chooses the same on every director, and connections taken in without their beginning."""
    pair.deployment.patch("lvsdg", NAME, {"sysctls": {"sloppyTcp": True}})
    pair.deployment.patch("lvsvs", NAME, {"scheduler": "mh", "schedulerFlags": ["mh-port"]})
    _wait_settings(pair)


def _wait_settings(pair: DirectorPair) -> None:
    pair.deployment.wait_condition(NAME, "SettingsApplied", "True", "SettingsApplied", kind="lvsdg")
    pair.deployment.wait_ready(NAME)


def _peers_instead(pair: DirectorPair, *, hashing: bool, preempt_delay_seconds: int | None = None) -> Peers:
    """Have keepalived alone do the work of what ran on the directors: they boot anew, and nothing else is started."""

    def setup(name: str) -> PeerSetup:
        return PeerSetup(
            vip=VIP,
            router_id=ROUTER_ID,
            priority=_PRIORITIES[name],
            interval_milliseconds=_INTERVAL,
            servers=tuple(SERVERS.values()),
            hashing=hashing,
            preempt_delay_seconds=preempt_delay_seconds,
        )

    pair.deployment.vrrp_nodes.clear()
    for name in DIRECTORS:
        guest = pair.deployment.lab.guest(name)
        guest.power_off()
        guest.power_on()
    peers = Peers(pair=pair, setup=setup, sysctls=("net.ipv4.vs.sloppy_tcp=1",) if hashing else ())
    peers.join(DIRECTORS[0])
    peers.wait_first(DIRECTORS[0])
    peers.join(DIRECTORS[1])
    return peers
