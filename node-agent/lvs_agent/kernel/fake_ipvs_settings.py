"""The settings of IPVS without a kernel, for unit tests: refused is what the kernel refuses."""

from dataclasses import dataclass, field, replace
from typing import Final

from lvs_agent.decide.kernel_settings import KernelTimeouts, SyncDaemon, SyncDaemons, SyncState, Timeout
from lvs_agent.decide.kernel_state import IPV4
from lvs_agent.errors import IpvsUnavailable, SettingRefused

KERNELS_TIMEOUTS: Final[KernelTimeouts] = {Timeout.TCP: 900, Timeout.TCP_FIN: 120, Timeout.UDP: 300}
"""What the kernel begins with (tcp_timeouts in ip_vs_proto_tcp.c, udp_timeouts in ip_vs_proto_udp.c)."""
_SHORTEST_OF_BACKUP: Final = 1024
_LONGEST: Final = 2147483
"""INT_MAX ticks, of which a second has a thousand."""


@dataclass(kw_only=True)
class FakeIpvsSettings:
    """`IpvsSettings` in memory. `timeouts` may be changed behind the agent's back, as `ipvsadm --set` would."""

    timeouts: dict[Timeout, int] = field(default_factory=lambda: dict(KERNELS_TIMEOUTS))
    daemons: dict[SyncState, SyncDaemon] = field(default_factory=dict)
    devices: set[str] = field(default_factory=lambda: {"lo", "eth0", "eth1"})
    """Network devices, each with an IPv4 address and an MTU of 1500."""
    available: bool = True
    writes: int = 0

    def read_timeouts(self) -> KernelTimeouts:
        """The time-outs."""
        self._check_available()
        return dict(self.timeouts)

    def write_timeouts(self, timeouts: KernelTimeouts) -> None:
        """All of them or none, as ip_vs_set_timeout does; 0 leaves one as it is."""
        self._check_available()
        for timeout, seconds in timeouts.items():
            if not 0 <= seconds <= _LONGEST:
                raise SettingRefused(f"time-outs {timeout.name} {seconds} s: the kernel refused it: Invalid argument")
        self.writes += 1
        self.timeouts.update({timeout: seconds for timeout, seconds in timeouts.items() if seconds})

    def read_daemons(self) -> SyncDaemons:
        """The sync daemons."""
        self._check_available()
        return dict(self.daemons)

    def start_daemon(self, state: SyncState, daemon: SyncDaemon) -> None:
        """As ip_vs_genl_new_daemon and start_sync_thread do."""
        self._check_available()
        why = None
        if not daemon.group.is_multicast:
            why = "Invalid argument"
        elif daemon.interface not in self.devices:
            why = "No such device"
        elif state in self.daemons:
            why = "File exists"
        if why is not None:
            raise SettingRefused(f"sync daemon {state.name.lower()} {daemon}: the kernel refused it: {why}")
        self.writes += 1
        headers = 28 if daemon.group.version == IPV4 else 48
        length = 1500 - headers if daemon.max_length is None else daemon.max_length
        shortest = _SHORTEST_OF_BACKUP if state is SyncState.BACKUP else 1
        self.daemons[state] = replace(daemon, max_length=min(max(length, shortest), 65535 - headers))

    def stop_daemon(self, state: SyncState) -> None:
        """Stop one."""
        self._check_available()
        self.writes += self.daemons.pop(state, None) is not None

    def close(self) -> None:
        """Nothing to release."""

    def _check_available(self) -> None:
        if not self.available:
            raise IpvsUnavailable("the kernel has no IPVS and could not load it: load the module ip_vs on this node")
