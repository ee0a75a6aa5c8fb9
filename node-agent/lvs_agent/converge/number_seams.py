"""Numbers that the node has once, wherever the kernel keeps them: time-outs over netlink, sysctls below /proc."""

from collections.abc import Collection, Mapping

from lvs_agent.decide.setting_values import Numbers
from lvs_agent.decide.wanted_settings import TIMEOUTS, sysctl_of
from lvs_agent.errors import PermissionRefused, SettingRefused, SysctlError
from lvs_agent.kernel.interface import IpvsSettings, Sysctls
from lvs_api.node_settings import SettingKey


class NumberSeams:
    """Reads and writes them by the names that the API has for them."""

    def __init__(self, settings: IpvsSettings, sysctls: Sysctls) -> None:
        self._settings = settings
        self._sysctls = sysctls

    def read(self, keys: Collection[SettingKey]) -> Numbers:
        """The present values of these, as far as the kernel has them.

        Time-outs are read whatever is asked for: the sysctls of net.ipv4.vs come with ip_vs, which is loaded by that.
        Raises IpvsUnavailable, IpvsReadFailed and SysctlError.
        """
        timeouts = self._settings.read_timeouts()
        found = {key: timeouts[TIMEOUTS[key]] for key in keys if key in TIMEOUTS and TIMEOUTS[key] in timeouts}
        names = {sysctl: key for key in keys if (sysctl := sysctl_of(key)) is not None}
        return found | {names[sysctl]: value for sysctl, value in self._sysctls.read(names).items()}

    def write(self, numbers: Numbers) -> Mapping[SettingKey, str]:
        """Write these, each sysctl for itself; what was refused, and the kernel's words. Raises IpvsReadFailed."""
        refused: dict[SettingKey, str] = {}
        if timeouts := {TIMEOUTS[key]: value for key, value in numbers.items() if key in TIMEOUTS}:
            try:
                self._settings.write_timeouts(timeouts)
            except (SettingRefused, PermissionRefused) as error:
                refused = {key: str(error) for key in numbers if key in TIMEOUTS}
        for key, value in numbers.items():
            if (sysctl := sysctl_of(key)) is not None:
                try:
                    self._sysctls.write(sysctl, value)
                except (SysctlError, PermissionRefused) as error:
                    refused[key] = str(error)
        return refused
