"""P5: a fifth of all real servers is replaced, ten times.

The kernel keeps a removed real server for minutes in a list that every addition scans (ip_vs_trash_get_dest).
"""

from collections.abc import Iterator
from typing import Final

from bench.agent_path import loaded, must_hold
from bench.figure import Figure, Goal, Samples
from bench.large_table import LARGE, Table, ipvsadm_text, table_of
from bench.peers import Prebuilt, ipvsadm_restore
from bench.repetitions import clock
from lvs_agent.decide.changes import AddDestination, DeleteDestination, IpvsChange

TURNS: Final = 10
OURS, LAST_OURS, RATIO = "ours: first turn", "ours: tenth turn", "ours: tenth / first"
FLOOR, LAST_FLOOR, RATIO_FLOOR = "floor: first turn", "floor: tenth turn", "floor: tenth / first"
IPVSADM, LAST_IPVSADM, RATIO_IPVSADM = "ipvsadm -R: first turn", "ipvsadm -R: tenth turn", "ipvsadm -R: tenth / first"


def turns() -> Iterator[tuple[Table, list[IpvsChange]]]:
    """The table after each turn, and what made it so."""
    before = table_of(LARGE)
    for number in range(1, TURNS + 1):
        after = table_of(LARGE, turns=number)
        changes: list[IpvsChange] = []
        for key, wish in after.items():
            has = before[key].destinations
            new = [one for one in wish.destinations if one not in has]
            changes += [AddDestination(service=key, destination=o, settings=wish.destinations[o]) for o in new]
        for key, wish in after.items():
            gone = [one for one in before[key].destinations if one not in wish.destinations]
            changes += [DeleteDestination(service=key, destination=one) for one in gone]
        yield after, changes
        before = after


def ours() -> Samples:
    """The agent's path, a round for each turn."""
    path, took = loaded(table_of(LARGE)), list[float]()
    for table, _ in turns():
        with clock(took, judged=len(took) == TURNS - 1):
            path.reconcile(table)
        path.remember(table)
    must_hold(table_of(LARGE, turns=TURNS))
    return {OURS: took[:1], LAST_OURS: took[-1:], RATIO: [took[-1] / took[0]]}


def floor() -> Samples:
    """Packed requests."""
    loaded(table_of(LARGE))
    took = list[float]()
    for _, changes in turns():
        requests = Prebuilt(changes)
        with clock(took):
            requests.send()
    must_hold(table_of(LARGE, turns=TURNS))
    return {FLOOR: took[:1], LAST_FLOOR: took[-1:], RATIO_FLOOR: [took[-1] / took[0]]}


def ipvsadm() -> Samples:
    """A file of additions and deletions for each turn."""
    loaded(table_of(LARGE))
    took = list[float]()
    for _, changes in turns():
        text = ipvsadm_text(changes)
        with clock(took):
            ipvsadm_restore(text)
    must_hold(table_of(LARGE, turns=TURNS))
    return {IPVSADM: took[:1], LAST_IPVSADM: took[-1:], RATIO_IPVSADM: [took[-1] / took[0]]}


FIGURE: Final = Figure(
    name="P5",
    title=f"a fifth of the real servers replaced {TURNS} times, {LARGE}",
    ways={OURS: ours, FLOOR: floor, IPVSADM: ipvsadm},
    ours=OURS,
    goals=(Goal(series=RATIO, at_most=1.5),),
    units=dict.fromkeys((RATIO, RATIO_FLOOR, RATIO_IPVSADM), "times"),
)
