"""What IPVS has once in a network namespace, beside sysctls: time-outs and sync daemons, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from lvs_agent.decide.kernel_state import IPAddress


class Timeout(IntEnum):
    """After how long without packets a connection is forgotten (IPVS_CMD_ATTR_TIMEOUT_* in linux/ip_vs.h)."""

    TCP = 4
    TCP_FIN = 5
    UDP = 6


KernelTimeouts = Mapping[Timeout, int]
"""In seconds; a kernel that was built without a protocol lacks what belongs to it."""


class SyncState(IntEnum):
    """What a sync daemon does (IP_VS_STATE_* in linux/ip_vs.h); a network namespace has at most one of each."""

    MASTER = 1
    BACKUP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncDaemon:
    """How a sync daemon is to run, or runs. `max_length` in bytes; None leaves it to the kernel."""

    interface: str
    sync_id: int
    group: IPAddress
    port: int
    ttl: int
    max_length: int | None = None

    def is_met_by(self, found: "SyncDaemon") -> bool:
        """Whether a daemon that runs is one that was started like this."""
        if self.max_length is None:
            found = replace(found, max_length=None)
        return found == self

    def __str__(self) -> str:
        text = f"on {self.interface}, sync id {self.sync_id}, {self.group} port {self.port}, ttl {self.ttl}"
        return text if self.max_length is None else f"{text}, at most {self.max_length} bytes"


SyncDaemons = Mapping[SyncState, SyncDaemon]
