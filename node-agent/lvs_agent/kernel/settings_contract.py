"""What every IpvsSettings must answer alike: the kernel, and the fake that stands in for it.

And what a kernel must say of sysctls: that it takes every value that the API takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from lvs_agent.decide.kernel_settings import KernelTimeouts, SyncDaemon, SyncDaemons, SyncState, Timeout
from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.errors import SettingRefused, SysctlError
from lvs_agent.kernel.interface import IpvsSettings, Sysctls
from lvs_api.node_settings import IpvsSysctls
from lvs_api.structural_schema import structural_schema

BEFORE: KernelTimeouts = {Timeout.TCP: 900, Timeout.TCP_FIN: 120, Timeout.UDP: 300}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutCase:
    """One write after `BEFORE`, whether it is refused, and what is there then."""

    name: str
    write: KernelTimeouts
    refused: bool = False
    after: KernelTimeouts


TIMEOUT_CASES: Sequence[TimeoutCase] = (
    TimeoutCase(name="all three", write={Timeout.TCP: 30, Timeout.TCP_FIN: 5, Timeout.UDP: 60},
                after={Timeout.TCP: 30, Timeout.TCP_FIN: 5, Timeout.UDP: 60}),
    TimeoutCase(name="one, and the others stay", write={Timeout.TCP_FIN: 2}, after={**BEFORE, Timeout.TCP_FIN: 2}),
    TimeoutCase(name="none", write={}, after=BEFORE),
    TimeoutCase(name="0 leaves one as it is", write={Timeout.TCP: 0, Timeout.UDP: 7}, after={**BEFORE, Timeout.UDP: 7}),
    TimeoutCase(name="the bounds of the API", write={Timeout.TCP: 2147483, Timeout.UDP: 1},
                after={**BEFORE, Timeout.TCP: 2147483, Timeout.UDP: 1}),
    TimeoutCase(name="one too long, and none is set", write={Timeout.TCP: 1 << 31, Timeout.UDP: 7}, refused=True,
                after=BEFORE),
)  # fmt: skip


def timeout_complaint(settings: IpvsSettings, case: TimeoutCase) -> str | None:
    """Run one case and leave the time-outs as `BEFORE`; what was not as it should be, or None."""
    settings.write_timeouts(BEFORE)
    refused = False
    try:
        settings.write_timeouts(case.write)
    except SettingRefused:
        refused = True
    found = settings.read_timeouts()
    settings.write_timeouts(BEFORE)
    if refused != case.refused:
        return "refused" if refused else "not refused"
    return None if found == case.after else f"the time-outs are {found}, not {case.after}"


def sysctl_complaints(sysctls: Sysctls) -> Mapping[str, str | None]:
    """Write the least and the greatest value of each sysctl of the API, and put it back; what went wrong, by name."""
    schema = structural_schema(IpvsSysctls)["properties"]
    bounds = {
        name: (schema[field.alias].get("minimum", 0), schema[field.alias].get("maximum", 1))
        for name, field in IpvsSysctls.model_fields.items()
    }
    return {name: _sysctl_complaint(sysctls, name, both) for name, both in bounds.items()}


def _sysctl_complaint(sysctls: Sysctls, name: str, bounds: tuple[int, int]) -> str | None:
    key = SysctlKey(("ipv4", "vs", name))
    before = sysctls.read([key])
    if key not in before:
        return "the kernel has none"
    try:
        for value in bounds:
            sysctls.write(key, value)
            if (found := sysctls.read([key])[key]) != value:
                return f"{found} after {value} was written"
    except SysctlError as error:
        return str(error)
    finally:
        sysctls.write(key, before[key])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonCase:
    """Starts where none runs, which of them are refused, and what runs then."""

    name: str
    starts: Sequence[tuple[SyncState, SyncDaemon]]
    refused: frozenset[int] = frozenset()
    after: SyncDaemons


def _daemon(group: str = "224.0.0.81", max_length: int | None = None, **settings: Any) -> SyncDaemon:  # noqa: ANN401 -- fields of it
    said = {"interface": "eth0", "sync_id": 7, "port": 8848, "ttl": 1, **settings}
    return SyncDaemon(group=ip_address(group), max_length=max_length, **said)


_MASTER, _BACKUP = SyncState.MASTER, SyncState.BACKUP
DAEMON_CASES: Sequence[DaemonCase] = (
    DaemonCase(name="a master", starts=[(_MASTER, _daemon())], after={_MASTER: _daemon(max_length=1472)}),
    DaemonCase(
        name="a backup of an IPv6 group",
        starts=[(_BACKUP, _daemon("ff05::51"))],
        after={_BACKUP: _daemon("ff05::51", 1452)},
    ),
    DaemonCase(
        name="both, each in its way",
        starts=[(_MASTER, _daemon("239.1.2.3", 1400, sync_id=255, port=9000, ttl=255)), (_BACKUP, _daemon(sync_id=0))],
        after={
            _MASTER: _daemon("239.1.2.3", 1400, sync_id=255, port=9000, ttl=255),
            _BACKUP: _daemon(max_length=1472, sync_id=0),
        },
    ),
    DaemonCase(
        name="the bounds of the API",
        starts=[(_MASTER, _daemon("ff05::51", 65487)), (_BACKUP, _daemon(max_length=1024))],
        after={_MASTER: _daemon("ff05::51", 65487), _BACKUP: _daemon(max_length=1024)},
    ),
    DaemonCase(
        name="a second master",
        starts=[(_MASTER, _daemon()), (_MASTER, _daemon(sync_id=8))],
        refused=frozenset({1}),
        after={_MASTER: _daemon(max_length=1472)},
    ),
    DaemonCase(name="no such device", starts=[(_BACKUP, _daemon(interface="gone0"))], refused=frozenset({0}), after={}),
    DaemonCase(
        name="no multicast group",
        starts=[(_MASTER, _daemon("192.0.2.1")), (_MASTER, _daemon("2001:db8::1"))],
        refused=frozenset({0, 1}),
        after={},
    ),
)


def daemon_complaint(settings: IpvsSettings, case: DaemonCase) -> str | None:
    """Run one case and stop what it started; what was not as it should be, or None."""
    if running := settings.read_daemons():
        return f"before it there is {running}"
    refused = set()
    for index, (state, daemon) in enumerate(case.starts):
        try:
            settings.start_daemon(state, daemon)
        except SettingRefused:
            refused.add(index)
    found = settings.read_daemons()
    for state in SyncState:
        settings.stop_daemon(state)  # also one that does not run
    if refused != case.refused:
        return f"refused are {refused}, not {set(case.refused)}"
    if found != case.after:
        return f"there is {found}, not {case.after}"
    return "not stopped" if settings.read_daemons() else None
