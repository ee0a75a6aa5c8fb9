"""P1: an empty table is filled."""

from functools import partial
from typing import Final

from bench.agent_path import AgentPath, must_hold
from bench.figure import WORST, Figure, Goal, Samples
from bench.large_table import LARGE, Shape, additions, ipvsadm_text, table_of
from bench.peers import Keepalived, Prebuilt, ipvsadm_restore
from bench.repetitions import clock

OURS: Final = "ours: read, judge, diff, encode, send"
VERIFY: Final = "ours: verification by reading everything back"
SECOND: Final = "ours: second reconcile with no change"
WRITES: Final = "ours: kernel writes of both"
FLOOR: Final = "floor: prebuilt netlink buffers"
IPVSADM: Final = "ipvsadm -R"
KEEPALIVED: Final = "keepalived's start without checks"
SHAPES: Final = (LARGE, Shape(services=100, real_servers=100), Shape(services=5_000, real_servers=8))


def ours(shape: Shape) -> Samples:
    """The agent's path."""
    table, load, verify, second = table_of(shape), list[float](), list[float](), list[float]()
    path = AgentPath.opened()
    with clock(load, judged=True):
        path.reconcile(table)
    path.remember(table)
    with clock(verify):
        left = path.reconcile(table)
    with clock(second):
        more = path.reconcile(table)
    return {OURS: load, VERIFY: verify, SECOND: second, WRITES: [left + more]}


def floor(shape: Shape) -> Samples:
    """Requests packed beforehand."""
    table, took = table_of(shape), list[float]()
    requests = Prebuilt(additions(table))
    with clock(took):
        requests.send()
    must_hold(table)
    return {FLOOR: took}


def ipvsadm(shape: Shape) -> Samples:
    """From a file as `ipvsadm -Sn` writes it."""
    table, took = table_of(shape), list[float]()
    text = ipvsadm_text(additions(table))
    with clock(took):
        ipvsadm_restore(text)
    must_hold(table)
    return {IPVSADM: took}


def keepalived(shape: Shape) -> Samples:
    """From its configuration, until the last entry is there."""
    table, took = table_of(shape), list[float]()
    program = Keepalived(table)
    with clock(took):
        program.start()
    must_hold(table)
    return {KEEPALIVED: took}


def figure(shape: Shape) -> Figure:
    """Of one shape."""
    ways = {OURS: ours, FLOOR: floor, IPVSADM: ipvsadm, KEEPALIVED: keepalived}
    return Figure(
        name="P1",
        title=f"cold load of {shape}",
        ways={name: partial(way, shape) for name, way in ways.items()},
        ours=OURS,
        goals=(
            Goal(series=OURS, peer=IPVSADM, at_most=0.05),
            Goal(series=OURS, peer=KEEPALIVED, at_most=0.10),
            Goal(series=OURS, peer=FLOOR, at_most=4),
            Goal(series=WRITES, percentile=WORST, at_most=0),
        ),
        units={WRITES: "writes"},
    )
