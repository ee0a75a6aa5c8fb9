"""All figures about failing over in one table, beside keepalived alone on the same machines in the same run.

P11 has both kinds run at once. For the others keepalived alone takes the place of the agents afterwards, with the same
address, real servers, scheduler and sync daemon.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import hand_over, program_restarts, surviving_connections, take_over
from bench.director_kinds import Ours, Peers
from bench.figure import Figure, Measured
from bench.keepalived_pair import PeerSetup
from bench.report import lines_of
from support.director_pair import DirectorPair
from support.fault_lab import DIRECTORS, NAME, ROUTER_ID, SERVERS, VIP, fault_lab, wait_whole

NAMES: Final = ("P11", "P12", "P13", "P15")
_INTERVAL: Final = 100
_PRIORITIES: Final = dict(zip(DIRECTORS, (150, 100), strict=True))


def main(words: Sequence[str]) -> int:
    """Measure, print each figure as it is known, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench failover", description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--repetitions", type=int, default=30, help="of each power-off of P11 (default 30)")
    parser.add_argument("--others", type=int, default=5, help="of everything else (default 5)")
    options = parser.parse_args(words)
    if unknown := set(options.figures) - set(NAMES):
        parser.error(f"no figure is called {', '.join(sorted(unknown))}")
    kept = True
    with tempfile.TemporaryDirectory() as directory, fault_lab("bench-failover", Path(directory)) as pair:
        wait_whole(pair)
        for figure, measured in _measured(pair, options.figures or NAMES, options.repetitions, options.others):
            print("\n".join(lines_of(figure, measured)), flush=True)
            kept = kept and all(goal.is_kept(measured.series) for goal in figure.goals)
    return 0 if kept else 1


def _measured(
    pair: DirectorPair, wanted: Sequence[str], repetitions: int, others: int
) -> Iterator[tuple[Figure, Measured]]:
    if "P11" in wanted:
        for interval in take_over.INTERVALS:
            yield take_over.figure(interval), take_over.measure(pair, interval, repetitions)
    if set(wanted) <= {"P11"}:
        return
    found = {name: Measured() for name in wanted}
    _tune(pair)
    ours = Ours(pair=pair)
    if "P12" in wanted:
        hand_over.measure_asked(ours, others, found["P12"])
        hand_over.measure(ours, others, found["P12"], hand_over.OURS)
    if "P13" in wanted:
        surviving_connections.measure(ours, others, found["P13"], surviving_connections.OURS)
    if "P15" in wanted:
        program_restarts.measure_ours(ours, others, found["P15"])
    peers = _peers_instead(pair)
    if "P12" in wanted:
        hand_over.measure(peers, others, found["P12"], hand_over.PEER)
        yield hand_over.FIGURE, found["P12"]
    if "P13" in wanted:
        surviving_connections.measure(peers, others, found["P13"], surviving_connections.PEER)
        yield surviving_connections.FIGURE, found["P13"]
    if "P15" in wanted:
        program_restarts.measure_peers(peers, others, found["P15"])
        yield program_restarts.FIGURE, found["P15"]


def _tune(pair: DirectorPair) -> None:
    """What lets connections outlive a change of the director, at both kinds."""
    deployment = pair.deployment
    settings = {
        "vrrp": {"advertIntervalMilliseconds": _INTERVAL},
        "connectionSync": {"interface": "eth0", "syncId": ROUTER_ID},
        "sysctls": {"sloppyTcp": True},
    }
    deployment.patch("lvsdg", NAME, settings)
    deployment.patch("lvsvs", NAME, {"scheduler": "mh", "schedulerFlags": ["mh-port"]})
    deployment.wait_condition(NAME, "SettingsApplied", "True", "SettingsApplied", kind="lvsdg")
    deployment.wait_ready(NAME)


def _peers_instead(pair: DirectorPair) -> Peers:
    """Take the agents and all that is theirs off the directors, and have keepalived alone do their work."""

    def setup(name: str) -> PeerSetup:
        return PeerSetup(
            vip=VIP,
            router_id=ROUTER_ID,
            priority=_PRIORITIES[name],
            interval_milliseconds=_INTERVAL,
            servers=tuple(SERVERS.values()),
        )

    for name in DIRECTORS:
        agent = pair.deployment.lab.agent(name)
        agent.kill("TERM")
        agent.vrrp.kill("TERM")
        agent.run_verb("cleanup", "--node-name", name)
    pair.deployment.vrrp_nodes.clear()
    peers = Peers(pair=pair, setup=setup, sysctls=("net.ipv4.vs.sloppy_tcp=1",))
    peers.join(DIRECTORS[0])
    peers.wait_first(DIRECTORS[0])
    peers.join(DIRECTORS[1])
    return peers
