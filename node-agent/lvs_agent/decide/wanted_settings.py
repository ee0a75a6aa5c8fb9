"""Which numbers this node is to have once, and who wants them: its groups, and what they serve where no group says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lvs_agent.decide.kernel_settings import Timeout
from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.decide.setting_values import WantedNumber
from lvs_api.node_settings import SettingKey
from lvs_core.group_settings import GroupNumber

TIMEOUTS: Final[Mapping[SettingKey, Timeout]] = {
    SettingKey("timeouts", "tcp_seconds"): Timeout.TCP,
    SettingKey("timeouts", "tcp_fin_seconds"): Timeout.TCP_FIN,
    SettingKey("timeouts", "udp_seconds"): Timeout.UDP,
}
CONNTRACK: Final = SettingKey("sysctls", "conntrack")
CONN_REUSE_MODE: Final = SettingKey("sysctls", "conn_reuse_mode")
EXPIRE_QUIESCENT_TEMPLATE: Final = SettingKey("sysctls", "expire_quiescent_template")
EXPIRE_NODEST_CONN: Final = SettingKey("sysctls", "expire_nodest_conn")
BACKUP_ONLY: Final = SettingKey("sysctls", "backup_only")
"""No field of a group."""
_DEFENCES: Final = frozenset(SettingKey("sysctls", name) for name in ("drop_entry", "drop_packet", "secure_tcp"))
_WHEN_SHORT: Final = frozenset({1, 2})
"""Between these two the kernel changes by itself, as memory gets short and is there again (update_defense_level)."""


@dataclass(frozen=True, slots=True)
class _Need:
    """What services, or sync daemons, need where no group says otherwise."""

    value: int
    accepted: frozenset[int]
    why: str


def wanted_numbers(prepared: PreparedPlan) -> Mapping[SettingKey, WantedNumber]:
    """What the node's groups say; else what is needed. A group's value counts, whatever is needed."""
    needs = dict(_needs(prepared))
    wanted = {key: WantedNumber(value=need.value, accepted=need.accepted, why=need.why) for key, need in needs.items()}
    for key, number in prepared.plan.settings.numbers.items():
        wanted[key] = _of_group(key, number, needs.get(key))
    return wanted


def sysctl_of(key: SettingKey) -> SysctlKey | None:
    """The sysctl that it is; None for what is none."""
    return SysctlKey(("ipv4", "vs", key.name)) if key.part == "sysctls" else None


def _of_group(key: SettingKey, number: GroupNumber, need: _Need | None) -> WantedNumber:
    why = f"LvsDirectorGroup {number.group}"
    if need is not None and number.value not in need.accepted:
        why += f", instead of {need.value} for {need.why}"
    accepted = _WHEN_SHORT if key in _DEFENCES and number.value in _WHEN_SHORT else frozenset({number.value})
    return WantedNumber(value=number.value, accepted=accepted, why=why)


def _needs(prepared: PreparedPlan) -> Iterator[tuple[SettingKey, _Need]]:
    if prepared.masqueraded:
        why = "services with Masquerade: a firewall of the node takes the real servers' answers for INVALID without it"
        if prepared.has_source_nat:
            why = "services with source NAT: without it nothing rewrites the source of what IPVS forwards"
        yield CONNTRACK, _Need(1, frozenset({1}), why)
    if prepared.replies_pass_by:
        # A director that sees only the client's half leaves a closed connection in FIN_WAIT for two minutes. Without
        # bit 2 a new connection from the same port goes to the old real server, also when that is dead or at weight 0
        # (Documentation/networking/ipvs-sysctl.rst; is_new_conn_expected in ip_vs_core.c).
        why = "services with DirectRouting or Tunnel: a client's port that is used again goes to a dead real server "
        yield CONN_REUSE_MODE, _Need(3, frozenset({2, 3}), f"{why}without it")
    if prepared.persistent:
        # Without it a client goes on to its real server for as long as it keeps coming back, also when that failed and
        # has weight 0 (ip_vs_check_template in ip_vs_conn.c).
        why = "services with persistence: clients stay with a failed real server without it"
        yield EXPIRE_QUIESCENT_TEMPLATE, _Need(1, frozenset({1}), why)
    if prepared.has_udp_flows:
        # Without it packets for an entry that was removed are dropped until the connection's time (300 s) is over; with
        # it the connection goes with the entry, and the client's next packet goes to another (ip_vs_in_hook in
        # ip_vs_core.c, ip_vs_expire_nodest_conn_flush in ip_vs_conn.c).
        why = "services with UDP: clients that go on sending lose minutes when their real server is removed without it"
        yield EXPIRE_NODEST_CONN, _Need(1, frozenset({1}), why)
    if prepared.plan.settings.sync is not None:
        # With 1 IPVS passes every packet by while a backup daemon runs (sysctl_backup_only in ip_vs.h), also beside a
        # master. The daemon's role follows who holds the addresses only while the agent runs.
        why = "connectionSync: a director that takes over while its agent is away would balance nothing with 1"
        yield BACKUP_ONLY, _Need(0, frozenset({0}), why)
