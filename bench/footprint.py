"""P16: what an agent takes that has 10,000 real servers and nothing to do."""

import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from bench.figure import WORST, Figure, Goal, Measured
from bench.large_table import LARGE
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for
from support.deployment import Deployment
from support.manifests import documents, pool_text, service_text

MEMORY: Final = "agent and its probe process: PSS"
_PARTS: Final = {"Pss_Anon": "(of it anonymous memory)", "Pss_File": "(of it mapped files: programs and libraries)"}
PROCESSOR: Final = "agent and its probe process: processor"
TABLE_SECONDS: Final = "(from the first object to the last entry)"
_VIP, _FIRST_PORT = "192.168.10.101", 10_000
_FIRST_SERVER: Final = IPv4Address("172.20.0.1")
_PER_CALL: Final = 250
_TABLE_DEADLINE: Final = 240.0
_SETTLE_SECONDS: Final = 30.0
_WINDOWS, _WINDOW_SECONDS = 6, 10.0
_MEMORY_OF: Final = "cat $(printf '/proc/%s/smaps_rollup ' $(pgrep -s {pid}))"
_TIME_OF: Final = """
import sys, time
# The processor clock of another process (clock_getcpuclockid(3)), in nanoseconds where /proc counts ticks.
print(sum(time.clock_gettime((~int(pid) << 3) | 2) for pid in sys.argv[1:]))
"""

FIGURE: Final = Figure(
    name="P16",
    title=f"an agent with {LARGE.services * LARGE.real_servers:,} real servers and no news",
    ways={},
    ours="",
    goals=(Goal(series=MEMORY, percentile=WORST, at_most=80), Goal(series=PROCESSOR, at_most=2)),
    units={
        MEMORY: "MiB",
        **dict.fromkeys(_PARTS.values(), "MiB"),
        PROCESSOR: "% of a processor",
        TABLE_SECONDS: "s",
    },
)


def objects() -> Iterator[str]:
    """A service and a pool for each kernel service; nobody stands behind the addresses."""
    for number in range(LARGE.services):
        first = _FIRST_SERVER + number * 16
        servers = [str(first + member) for member in range(LARGE.real_servers)]
        yield pool_text(f"large-{number}", *servers)
        ports = [{"name": "tcp", "port": _FIRST_PORT + number}]
        more = {"forwarding": {"method": "Masquerade"}}
        yield service_text(f"large-{number}", _VIP, ports=ports, scheduler="wrr", pool=f"large-{number}", more=more)


def load(deployment: Deployment, director: GuestMachine) -> float:
    """Make the objects and wait for the kernel's table; how many seconds it took."""
    texts, began = list(objects()), time.monotonic()
    for start in range(0, len(texts), _PER_CALL):
        text = documents(*texts[start : start + _PER_CALL])
        deployment.lab.kubectl("create", "--namespace", "default", "--filename=-", stdin=text)
    wanted = LARGE.services * LARGE.real_servers

    def is_whole() -> bool:
        there = int(director.sh("grep -c -- '->.*Masq' /proc/net/ip_vs", check=False) or 0)
        assert there == wanted, f"{there} of {wanted} real servers"
        return True

    wait_for(is_whole, _TABLE_DEADLINE, f"{wanted} real servers in the kernel of {director.name}", interval=1)
    return time.monotonic() - began


def measure(deployment: Deployment, director: GuestMachine) -> Measured:
    """Load, let it settle, and look."""
    measured = Measured(series={TABLE_SECONDS: [load(deployment, director)], MEMORY: [], PROCESSOR: []})
    time.sleep(_SETTLE_SECONDS)  # part of what is measured: what it takes when nothing has happened for a while
    pid = deployment.lab.agent(director.name).pid
    for _ in range(_WINDOWS):
        before, began = _processor_seconds(director, pid), time.monotonic()
        time.sleep(_WINDOW_SECONDS)  # the window that is looked at
        share = (_processor_seconds(director, pid) - before) / (time.monotonic() - began)
        measured.series[PROCESSOR].append(100 * share)
        memory = director.sh(_MEMORY_OF.format(pid=pid))
        measured.series[MEMORY].append(_mib(memory, "Pss"))
        for field, series in _PARTS.items():
            measured.series.setdefault(series, []).append(_mib(memory, field))
    measured.remarks.append(f"one agent, {_WINDOWS} windows of {_WINDOW_SECONDS:g} s: more of them tell the same")
    return measured


def _mib(memory: str, field: str) -> float:
    """The sum of a field of several smaps_rollup, which have KiB (proc_pid_smaps(5))."""
    return sum(int(line.split()[1]) for line in memory.splitlines() if line.startswith(f"{field}:")) / 1024


def _processor_seconds(director: GuestMachine, pid: int) -> float:
    return float(director.out("python3", "-c", _TIME_OF, *director.out("pgrep", "-s", str(pid)).split()))
