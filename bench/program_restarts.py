"""P15: what a restart, a crash and an upgrade of the agent cost the traffic and the kernel."""

from typing import Final

from bench.director_kinds import Kind, Ours
from bench.figure import WORST, Figure, Goal, Measured
from support.agent_state import wait_rounds
from support.fault_lab import VIP
from support.steady_load import steady_load

RATE: Final = 300
RESTART: Final = "ours: failed, agent restarted"
CRASH: Final = "ours: failed, agent killed"
UPGRADE: Final = "ours: failed, agent and VRRP daemon replaced"
WRITES: Final = "ours: kernel writes of new agents"
ROLES: Final = "ours: and for the sync daemon, replaced"
"""With its VRRP daemon a director gives its role away, and that is a change."""
PEER: Final = "keepalived alone: failed, restarted"
_WRITES: Final = "lvs_agent_kernel_writes_total"

FIGURE: Final = Figure(
    name="P15",
    title=f"programs of the active director are started anew at {RATE} connections/s",
    ways={},
    ours=RESTART,
    goals=tuple(Goal(series=one, percentile=WORST, at_most=0) for one in (RESTART, CRASH, UPGRADE, WRITES)),
    units={**dict.fromkeys((RESTART, CRASH, UPGRADE, PEER), "connections"), **dict.fromkeys((WRITES, ROLES), "writes")},
)


def measure_ours(ours: Ours, repetitions: int, measured: Measured) -> None:
    """So many of each."""
    deployment = ours.pair.deployment
    namespace = deployment.client_namespace(ours.pair.client_name)
    for _ in range(repetitions):
        for series, signal, whole in ((RESTART, "TERM", False), (CRASH, "KILL", False), (UPGRADE, "TERM", True)):
            master = ours.pair.master()
            ours.wait_ready(master)
            with steady_load(namespace, VIP, RATE) as report:
                deployment.lab.agent(master).kill(signal)
                if whole:
                    ours.leave(master)
                    ours.join(master)
                deployment.start_agent(master)
                wait_rounds(deployment, master)
                ours.wait_ready(ours.pair.master())
            measured.series.setdefault(series, []).append(sum(report.failures.values()))
            measured.remarks.append(f"{series}: {report}")
            writes = deployment.agent_metric(master, _WRITES)
            if whole:
                roles = deployment.agent_metric(master, f'{_WRITES}{{kind="sync_daemon"}}')
                measured.series.setdefault(ROLES, []).append(roles)
                writes -= roles
            measured.series.setdefault(WRITES, []).append(writes)


def measure_peers(peers: Kind, repetitions: int, measured: Measured) -> None:
    """The program ends in order and is started again."""
    namespace = peers.pair.deployment.client_namespace(peers.pair.client_name)
    for _ in range(repetitions):
        master = peers.pair.master()
        peers.wait_ready(master)
        with steady_load(namespace, VIP, RATE) as report:
            peers.leave(master)
            peers.join(master)
            peers.wait_ready(peers.pair.master())
        measured.series.setdefault(PEER, []).append(sum(report.failures.values()))
        measured.remarks.append(f"{PEER}: {report}")
