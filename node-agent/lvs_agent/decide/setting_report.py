"""What is said of a node's settings: who wants each, and why one is not as it is to be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.tenure import FIGHT_SECONDS, Tenure
from lvs_agent.errors import IpvsUnavailable, KernelError
from lvs_api.conditions import Reason
from lvs_api.lvs_node import NodeSettingStatus
from lvs_api.node_settings import SettingKey

_MAX_MESSAGE: Final = 512
_OTHER_WRITERS: Final = {
    "timeouts": "ipvsadm --set in a script, or kube-proxy in ipvs mode with --ipvs-tcp-timeout and the like",
    "sysctls": "kube-proxy in ipvs mode, a file of /etc/sysctl.d, or tuned",
}
"""Who is known to write such a setting, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting of the node."""

    name: str
    value: str
    why: str
    fault: Fault | None = None
    """Why it is not so."""

    def status(self) -> NodeSettingStatus:
        """As LvsNode.status has it."""
        fault = self.fault
        return NodeSettingStatus(
            name=self.name,
            value=self.value,
            message=(fault.message if fault else self.why)[:_MAX_MESSAGE],
            reason=fault.reason if fault else None,
        )


def summary(rows: Iterable[SettingRow]) -> Fault | None:
    """All faults as one, for a condition."""
    faults = [row.fault for row in rows if row.fault is not None]
    if not faults:
        return None
    return Fault(reason=faults[0].reason, message="; ".join(dict.fromkeys(fault.message for fault in faults)))


def number_fault(key: SettingKey, tenure: Tenure[int]) -> Fault | None:
    """Why a number that the kernel has is not as it is to be, or was not a short while ago."""
    return tenure_fault(
        str(key),
        tenure,
        f"setting it to {tenure.theirs}, and it is to be {tenure.value}; it is written at most every "
        f"{FIGHT_SECONDS:.0f} s. Perhaps {_OTHER_WRITERS[key.part]}: let that leave it alone, or take it out of the "
        "LvsDirectorGroup",
    )


def tenure_fault(what: str, tenure: Tenure[Any], done: str) -> Fault | None:
    """Why something of ours is not as it is to be; `done` says what somebody else keeps doing to it."""
    if tenure.refused is not None:
        return Fault(reason=Reason.KERNEL_REFUSED, message=f"{what}: {tenure.refused}")
    if tenure.contested is None:
        return None
    return Fault(reason=Reason.CHANGED_BY_OTHERS, message=f"{what}: something else on this node keeps {done}")


def seam_fault(error: KernelError) -> Fault:
    """Nothing is known of the settings, for the kernel does not answer about them."""
    reason = Reason.IPVS_UNAVAILABLE if isinstance(error, IpvsUnavailable) else Reason.KERNEL_REFUSED
    return Fault(reason=reason, message=str(error))


def missing_fault(key: SettingKey) -> Fault:
    """The kernel has nothing of this name."""
    return Fault(reason=Reason.SETTING_UNAVAILABLE, message=f"{key}: this node's kernel has no such setting")
