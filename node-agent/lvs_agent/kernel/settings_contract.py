"""What every IpvsSettings must answer alike: the kernel, and the fake that stands in for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lvs_agent.decide.kernel_state import KernelTimeouts, Timeout
from lvs_agent.errors import SettingRefused
from lvs_agent.kernel.interface import IpvsSettings

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
