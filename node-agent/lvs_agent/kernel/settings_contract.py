"""What every IpvsSettings must answer alike: the kernel, and the fake that stands in for it.

And what a kernel must say of sysctls: that it takes every value that the API takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lvs_agent.decide.kernel_state import KernelTimeouts, SysctlKey, Timeout
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
