"""What runs inside a guest: tables as objects say them, beside what ipvsadm makes of them. Arrives on standard input.

It reads the file that its argument names: a list of tables, each with `manifests`, the `saved` lines that they were
made from, and the lines that were `exported` from them. It prints by the table's number in what the kernel's tables
differ.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lvs_agent.converge.table import TableKeeper
from lvs_agent.decide.circumstances import Circumstances
from lvs_agent.decide.kernel_state import AnyServiceKey, KernelIpvs, Route, RouteKind, WantedService
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.decide.prepared_plan import prepare
from lvs_agent.kernel.contract import settings_of
from lvs_agent.kernel.ipvs import KernelIpvsTable
from lvs_agent.kernel.testing import NetworkNamespace
from lvs_agent.serve.metrics import AgentMetrics
from lvs_core.manifests import plan_manifests, read_manifests

Table = Mapping[AnyServiceKey, WantedService]


def by_us(manifests: Sequence[Mapping[str, Any]], address: str) -> Table:
    """The table after a round of the agent's that begins with an empty one; every real server is on the link."""
    made = plan_manifests(read_manifests(manifests), [address])
    assert made.problems == (), made.problems
    prepared = prepare(made.plan)
    around = Circumstances(
        kernel=KernelIpvs(),
        owned={},
        health={},
        routes=dict.fromkeys(prepared.routed, Route(kind=RouteKind.UNICAST, device="eth0")),
        drains={},
        now=time.clock_gettime(time.CLOCK_BOOTTIME),
    )
    outcome = TableKeeper(KernelIpvsTable(), AgentMetrics(), time.monotonic).converge(prepared, around, remember)
    assert not outcome.faults, outcome.faults
    return settings_of(KernelIpvsTable().read())


def remember(owned: OwnedIpvs) -> OwnedIpvs:
    """As a disk that takes everything."""
    return owned


def by_ipvsadm(lines: Sequence[str]) -> Table:
    """The table after `ipvsadm -R`."""
    subprocess.run(["ipvsadm", "-R"], input="".join(f"{line}\n" for line in lines), text=True, check=True)
    return settings_of(KernelIpvsTable().read())


@contextmanager
def namespaces(*names: str) -> Iterator[list[NetworkNamespace]]:
    """Empty ones."""
    made = [NetworkNamespace(name) for name in names]
    try:
        for one in made:
            one.create()
        yield made
    finally:
        for one in made:
            one.delete()


def differences(table: Mapping[str, Any], address: str) -> list[str]:
    """In what the three tables are not the same."""
    with namespaces("ours", "saved", "exported") as (ours, saved, exported):
        wanted = saved.run(partial(by_ipvsadm, table["saved"]))
        found = ours.run(partial(by_us, table["manifests"], address))
        again = exported.run(partial(by_ipvsadm, table["exported"]))
    named = {"the agent's": found, "the exported": again}
    return [
        f"{name} table has {other.get(key)} at {key}, not {wanted.get(key)}"
        for name, other in named.items()
        for key in {*wanted, *other}
        if other.get(key) != wanted.get(key)
    ]


def main() -> None:
    """All tables."""
    whole = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {number: differences(table, whole["address"]) for number, table in enumerate(whole["tables"])}
    print(json.dumps({number: lines for number, lines in found.items() if lines}))


if __name__ == "__main__":
    main()
