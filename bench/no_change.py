"""P4: a round that finds everything as it shall be."""

from typing import Final

from bench.agent_path import loaded
from bench.figure import WORST, Figure, Goal, Samples
from bench.large_table import LARGE, table_of
from bench.peers import RawDumps, ipvsadm_save
from bench.repetitions import clock

OURS: Final = "ours: all read, judged and compared"
SERVICES: Final = "ours: services alone, as in most seconds"
WRITES: Final = "ours: kernel writes"
FLOOR: Final = "floor: all of it dumped, and not looked into"
IPVSADM: Final = "ipvsadm -Sn"


def ours() -> Samples:
    """The agent's path, all of it; and the look at the services alone that it takes more often."""
    table = table_of(LARGE)
    path, took, services = loaded(table), list[float](), list[float]()
    with clock(took, judged=True):
        written = path.reconcile(table)
    known = path.table.read().services
    with clock(services):
        seen = path.table.read_services()
        same = all(settings == known[key].settings for key, settings in seen.items())
    if not same:
        raise SystemExit("services changed by themselves")
    return {OURS: took, SERVICES: services, WRITES: [written]}


def floor() -> Samples:
    """Dumps alone."""
    table, took = table_of(LARGE), list[float]()
    loaded(table)
    dumps = RawDumps(table)
    with clock(took):
        entries = dumps.receive()
    if entries != LARGE.entries:
        raise SystemExit(f"{entries} entries were dumped")
    return {FLOOR: took}


def ipvsadm() -> Samples:
    """The table as a file."""
    loaded(table_of(LARGE))
    took = list[float]()
    with clock(took):
        ipvsadm_save()
    return {IPVSADM: took}


FIGURE: Final = Figure(
    name="P4",
    title=f"reconcile without a change, {LARGE}",
    ways={OURS: ours, FLOOR: floor, IPVSADM: ipvsadm},
    ours=OURS,
    goals=(
        Goal(series=WRITES, percentile=WORST, at_most=0),
        Goal(series=OURS, peer=IPVSADM, at_most=1.0),
    ),
    units={WRITES: "writes"},
)
