"""Load 1,000 services x 10 real servers: our path against `ipvsadm -R` and against prebuilt netlink buffers.

Without options it brings up a lab of one guest and measures there. All ways run in one process on one kernel, by turns,
so that the ratios hold where the times do not. Each gets a network namespace, and so an empty IPVS table, of its own:
the kernel keeps removed real servers for minutes in a list that every addition scans.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median

from lvs_agent.decide.changes import AddDestination, AddService, IpvsChange
from lvs_agent.decide.kernel_diff import diff_ipvs
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    ForwardingMethod,
    KernelIpvs,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
    WantedService,
)
from lvs_agent.decide.ownership import OwnedIpvs, judge_ipvs
from lvs_agent.kernel.ipvs import KernelIpvsTable
from lvs_agent.kernel.ipvs_codec import FAMILY_NAME, RequestEncoder
from lvs_agent.kernel.netlink_socket import NetlinkSocket
from lvs_agent.kernel.netlink_wire import error_code, family_id, get_family_message
from lvs_agent.kernel.testing import NetworkNamespace

SERVICES, REAL_SERVERS = 1_000, 10
ENTRIES = SERVICES * (1 + REAL_SERVERS)
BATCH = 500
ALLOWED_OF_IPVSADM = 0.05
TOPOLOGY = """\
segments: [lan]
nodes:
  director-1:
    role: director
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.11/24]}}
"""


def wanted_table() -> dict[AnyServiceKey, WantedService]:
    """The plan: addresses, ports and weights as a large installation has them."""
    settings = ServiceSettings(scheduler="wrr")
    return {
        ServiceKey(
            protocol=TransportProtocol.TCP, address=IPv4Address(0x0A000001 + number // 4), port=8000 + number % 4
        ): WantedService(settings=settings, destinations=real_servers(number))
        for number in range(SERVICES)
    }


def real_servers(number: int) -> Mapping[DestinationKey, DestinationSettings]:
    """Ten real servers of one service."""
    return {
        DestinationKey(
            address=IPv4Address(0x0B000001 + number * 16 + member), port=8000 + number % 4
        ): DestinationSettings(weight=member + 1, method=ForwardingMethod.DIRECT_ROUTE)
        for member in range(REAL_SERVERS)
    }


class Clock:
    """Milliseconds of the last measured block."""

    milliseconds = 0.0

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure the block."""
        start = time.perf_counter()
        yield
        self.milliseconds = (time.perf_counter() - start) * 1000


def reconcile(
    table: KernelIpvsTable, wanted: Mapping[AnyServiceKey, WantedService], ledger: OwnedIpvs
) -> tuple[int, KernelIpvs]:
    """One round as the agent makes it, without its verification: the number of writes, and what was read first."""
    snapshot = table.read()
    changes = diff_ipvs(snapshot, wanted, judge_ipvs(snapshot, wanted, ledger))
    applied = table.apply(changes)
    if applied.failures or not applied.certain:
        raise SystemExit(f"the kernel refused entries: {applied.failures[:3]}")
    return applied.written, snapshot


def measure_ours(clock: Clock) -> Mapping[str, float]:
    """Load, verify, and a second reconcile with no change."""
    wanted = wanted_table()
    ledger = {key: frozenset(wish.destinations) for key, wish in wanted.items()}
    table = KernelIpvsTable()
    table.info()
    with clock.measure():
        written, _ = reconcile(table, wanted, {})
    load = clock.milliseconds
    with clock.measure():
        left, _ = reconcile(table, wanted, ledger)
    verify = clock.milliseconds
    with clock.measure():
        second, _ = reconcile(table, wanted, ledger)
    return {
        "load": load,
        "verify": verify,
        "written": written,
        "second_reconcile": clock.milliseconds,
        "second_writes": left + second,
    }


def measure_prebuilt(clock: Clock) -> float:
    """The floor: requests that were packed beforehand, 500 a send with one acknowledgement."""
    connection = NetlinkSocket()
    first = connection.next_sequence()
    connection.send(get_family_message(FAMILY_NAME, first))
    (family,) = (family_id(buffer, message) for buffer, message in connection.answers(first))
    encoder = RequestEncoder(family)
    buffers: list[tuple[int, bytes]] = []
    refused: list[int] = []
    changes = all_changes()
    for start in range(0, len(changes), BATCH):
        batch = changes[start : start + BATCH]
        sequence = connection.next_sequence(len(batch))
        last = sequence + len(batch) - 1
        packed = [encoder.change(change, sequence + index) for index, change in enumerate(batch[:-1])]
        buffers.append((last, b"".join([*packed, encoder.last_change(batch[-1], last)])))
    with clock.measure():
        for last, buffer in buffers:
            connection.send(buffer)
            refused += [code for answer, message in connection.answers(last) if (code := error_code(answer, message))]
    if refused:
        raise SystemExit(f"prebuilt: {len(refused)} requests refused, the first with {os.strerror(refused[0])}")
    return clock.milliseconds


def all_changes() -> list[IpvsChange]:
    """Services first, as the diff orders them."""
    wanted = wanted_table()
    services: list[IpvsChange] = [AddService(service=key, settings=wish.settings) for key, wish in wanted.items()]
    return services + [
        AddDestination(service=key, destination=destination, settings=settings)
        for key, wish in wanted.items()
        for destination, settings in wish.destinations.items()
    ]


def measure_ipvsadm(clock: Clock) -> float:
    """`ipvsadm -R` of the table as `ipvsadm -Sn` saved it."""
    lines: list[str] = []
    for key, wish in wanted_table().items():
        lines.append(f"-A -t {key_text(key)} -s {wish.settings.scheduler}")
        lines.extend(f"-a -t {key_text(key)} -r {d} -g -w {s.weight}" for d, s in wish.destinations.items())
    text = "\n".join(lines) + "\n"
    with clock.measure():
        subprocess.run(["ipvsadm", "-R"], input=text, text=True, check=True)
    return clock.milliseconds


def key_text(key: AnyServiceKey) -> str:
    """Address and port as ipvsadm takes them."""
    if not isinstance(key, ServiceKey):
        raise TypeError(key)
    return f"{key.address}:{key.port}"


WAYS: Mapping[str, Callable[["Clock"], Mapping[str, float]]] = {
    "ours": measure_ours,
    "prebuilt": lambda clock: {"prebuilt": measure_prebuilt(clock)},
    "ipvsadm": lambda clock: {"ipvsadm": measure_ipvsadm(clock)},
}


def measure_here() -> dict[str, float]:
    """One round of every way."""
    found: dict[str, float] = {}
    for name, way in WAYS.items():
        namespace = NetworkNamespace(f"lvs-bench-{name}")
        namespace.create()
        try:
            found |= namespace.run(partial(checked, name, way))
        finally:
            namespace.delete()
    return found


def checked(name: str, way: Callable[[Clock], Mapping[str, float]]) -> Mapping[str, float]:
    """Do the work, and see that the whole table came to be."""
    result = way(Clock())
    services = KernelIpvsTable().read().services
    entries = len(services) + sum(len(state.destinations) for state in services.values())
    if entries != ENTRIES:
        raise SystemExit(f"{name}: the table has {entries} entries, not {ENTRIES}")
    return result


def measure_in_lab(rounds: int) -> str:
    """The same in a guest of a lab of its own; what it printed."""
    from lvs_lab.lab import Lab  # noqa: PLC0415 (the guest has no lab)
    from lvs_lab.python_packages import agent_environment  # noqa: PLC0415 (likewise)

    lab = Lab.up("bench-load", TOPOLOGY)
    try:
        command = ["python3", "-", "--in-guest", "--rounds", str(rounds)]
        script = Path(__file__).read_text(encoding="utf-8")
        guest = lab.machine("director-1")
        return guest.exec(command, stdin=script, env=agent_environment(), check=True, timeout=300).stdout
    finally:
        lab.down()


def report(rounds: list[dict[str, float]]) -> bool:
    """Print times and ratios; whether the bound is kept and nothing was written the second time."""
    middle = {key: median(one[key] for one in rounds) for key in rounds[0]}
    best = {key: min(one[key] for one in rounds) for key in rounds[0]}
    writes = max(one["second_writes"] for one in rounds)
    print(f"{SERVICES} services x {REAL_SERVERS} real servers, {len(rounds)} rounds in one guest: best, median")
    for text, key in (
        ("ipvsadm -R", "ipvsadm"),
        ("prebuilt netlink buffers", "prebuilt"),
        ("ours: read, judge, diff, encode, send", "load"),
        ("ours: verification by reading everything back", "verify"),
        ("ours: second reconcile with no change", "second_reconcile"),
    ):
        print(f"  {text:<48}{best[key]:9.1f} ms{middle[key]:9.1f} ms")
    # What else the machine does only ever adds to a time, so each way's best round is the one to compare.
    ratio = best["load"] / best["ipvsadm"]
    print(f"  load / ipvsadm -R {ratio:.3f} (at most {ALLOWED_OF_IPVSADM})")
    print(f"  the same with verification {(best['load'] + best['verify']) / best['ipvsadm']:.3f}")
    print(f"  load / prebuilt buffers {best['load'] / best['prebuilt']:.1f}")
    print(f"  kernel writes of a reconcile with no change: {writes:.0f}")
    return ratio <= ALLOWED_OF_IPVSADM and writes == 0


def main() -> int:
    """Measure, print, and fail when a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of every way (default 7)")
    parser.add_argument("--in-guest", action="store_true", help="measure on this kernel and print JSON")
    arguments = parser.parse_args()
    if arguments.in_guest:
        print(json.dumps([measure_here() for _ in range(arguments.rounds)]))
        return 0
    return 0 if report(json.loads(measure_in_lab(arguments.rounds).splitlines()[-1])) else 1


if __name__ == "__main__":
    sys.exit(main())
