"""Sysctls without a kernel, for unit tests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lvs_agent.decide.kernel_sysctls import SysctlKey, conf_key
from lvs_agent.errors import SysctlError

_ALL_FORWARDING = conf_key("ipv6", "all", "forwarding")


@dataclass(kw_only=True)
class FakeSysctls:
    """`Sysctls` in memory: only keys in `values` exist, and IPv6 all.forwarding reaches every device, as in Linux."""

    values: dict[SysctlKey, int] = field(default_factory=dict)
    writes: int = 0

    def read(self, keys: Iterable[SysctlKey]) -> Mapping[SysctlKey, int]:
        """The present values."""
        return {key: self.values[key] for key in keys if key in self.values}

    def write(self, key: SysctlKey, value: int) -> None:
        """Set one value."""
        if key not in self.values:
            raise SysctlError(f"writing {key}={value}: no such file")
        self.writes += 1
        if key == _ALL_FORWARDING and self.values[key] != value:
            for other in self.values:
                if other.path[0] == "ipv6" and other.path[-1] == "forwarding":
                    self.values[other] = value
        self.values[key] = value
