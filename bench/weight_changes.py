"""P2 and P3: weights of a large table change, one and all of them."""

from collections.abc import Iterator
from typing import Final

from bench.agent_path import loaded, must_hold
from bench.figure import Figure, Goal, Samples
from bench.large_table import LARGE, additions, edits, ipvsadm_text, service_key, table_of
from bench.peers import Prebuilt, ipvsadm, ipvsadm_restore, start_a_program
from bench.repetitions import clock
from lvs_agent.decide.changes import EditDestination
from lvs_agent.decide.kernel_state import DestinationKey, DestinationSettings, ForwardingMethod
from lvs_agent.kernel.ipvs import KernelIpvsTable

ONE: Final = "ours: one change written, and verified by reading its service"
ONE_FLOOR: Final = "floor: a prebuilt netlink buffer"
ONE_IPVSADM: Final = "ipvsadm -e"
NO_PROGRAM: Final = "(starting a program that does nothing)"
ALL: Final = "ours: glance, judge, diff, encode, send"
ALL_GLANCE: Final = "ours: of this the glance"
ALL_UNKNOWN: Final = "ours: the same where the table is not known, and read"
ALL_FLOOR: Final = "floor: prebuilt netlink buffers"
ALL_IPVSADM: Final = "ipvsadm -R of edits"
_CHANGES: Final = 20


def _changes() -> Iterator[EditDestination]:
    """Each of another service, somewhere in the table."""
    table = table_of(LARGE)
    for number in range(_CHANGES):
        service = service_key(number * (LARGE.services // _CHANGES))
        destination: DestinationKey = next(iter(table[service].destinations))
        settings = DestinationSettings(weight=100 + number, method=ForwardingMethod.DIRECT_ROUTE)
        yield EditDestination(service=service, destination=destination, settings=settings)


def one_by_us() -> Samples:
    """What the agent does between knowing of a change and knowing that the kernel has it."""
    loaded(table_of(LARGE))
    table, took = KernelIpvsTable(), list[float]()
    table.info()
    for change in _changes():
        with clock(took, judged=True):
            table.apply([change])
            state = table.read_only([change.service]).services[change.service]
        if state.destinations[change.destination].settings != change.settings:
            raise SystemExit(f"not carried out: {change}")
    return {ONE: took}


def one_prebuilt() -> Samples:
    """A packed request."""
    loaded(table_of(LARGE))
    took = list[float]()
    for change in _changes():
        request = Prebuilt([change])
        with clock(took):
            request.send()
    return {ONE_FLOOR: took}


def one_by_ipvsadm() -> Samples:
    """A program for each change, and beside it what any program costs."""
    loaded(table_of(LARGE))
    took, nothing = list[float](), list[float]()
    for change in _changes():
        with clock(took):
            ipvsadm(change)
        with clock(nothing):
            start_a_program()
    return {ONE_IPVSADM: took, NO_PROGRAM: nothing}


def all_by_us() -> Samples:
    """A round of the agent's path in which every weight is another: the table is known, and then it is read."""
    path, unknown, took = loaded(table_of(LARGE)), list[float](), list[float]()
    path.look_around()
    wanted, heavier = table_of(LARGE, heavier=1), table_of(LARGE, heavier=2)
    with clock(took, judged=True):
        path.weigh(wanted)
    must_hold(wanted)
    glance = path.read[-1:]
    with clock(unknown):
        path.reconcile(heavier)
    must_hold(heavier)
    return {ALL: took, ALL_GLANCE: glance, ALL_UNKNOWN: unknown}


def all_prebuilt() -> Samples:
    """Packed requests."""
    loaded(table_of(LARGE))
    wanted, took = table_of(LARGE, heavier=1), list[float]()
    requests = Prebuilt(edits(wanted))
    with clock(took):
        requests.send()
    must_hold(wanted)
    return {ALL_FLOOR: took}


def all_by_ipvsadm() -> Samples:
    """A file of edits."""
    Prebuilt(additions(table_of(LARGE))).send()
    wanted, took = table_of(LARGE, heavier=1), list[float]()
    text = ipvsadm_text(edits(wanted))
    with clock(took):
        ipvsadm_restore(text)
    must_hold(wanted)
    return {ALL_IPVSADM: took}


ONE_CHANGE: Final = Figure(
    name="P2",
    title=f"one weight change in {LARGE}, {_CHANGES} in each repetition",
    ways={ONE: one_by_us, ONE_FLOOR: one_prebuilt, ONE_IPVSADM: one_by_ipvsadm},
    ours=ONE,
    goals=(Goal(series=ONE, peer=ONE_IPVSADM, percentile=99, at_most=0.1),),
)
EVERY_CHANGE: Final = Figure(
    name="P3",
    title=f"every weight of {LARGE} changes: {LARGE.services * LARGE.real_servers:,} edits",
    ways={ALL: all_by_us, ALL_FLOOR: all_prebuilt, ALL_IPVSADM: all_by_ipvsadm},
    ours=ALL,
    goals=(Goal(series=ALL, peer=ALL_IPVSADM, at_most=0.05),),
)
