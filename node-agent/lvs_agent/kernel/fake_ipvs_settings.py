"""The settings of IPVS without a kernel, for unit tests: refused is what the kernel refuses."""

from dataclasses import dataclass, field
from typing import Final

from lvs_agent.decide.kernel_state import KernelTimeouts, Timeout
from lvs_agent.errors import IpvsUnavailable, SettingRefused

KERNELS_TIMEOUTS: Final[KernelTimeouts] = {Timeout.TCP: 900, Timeout.TCP_FIN: 120, Timeout.UDP: 300}
"""What the kernel begins with (tcp_timeouts in ip_vs_proto_tcp.c, udp_timeouts in ip_vs_proto_udp.c)."""
_LONGEST: Final = 2147483
"""INT_MAX ticks, of which a second has a thousand."""


@dataclass(kw_only=True)
class FakeIpvsSettings:
    """`IpvsSettings` in memory. `timeouts` may be changed behind the agent's back, as `ipvsadm --set` would."""

    timeouts: dict[Timeout, int] = field(default_factory=lambda: dict(KERNELS_TIMEOUTS))
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

    def close(self) -> None:
        """Nothing to release."""

    def _check_available(self) -> None:
        if not self.available:
            raise IpvsUnavailable("the kernel has no IPVS and could not load it: load the module ip_vs on this node")
