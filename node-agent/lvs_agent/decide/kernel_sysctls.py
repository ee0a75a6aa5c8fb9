"""Sysctls below net, and how they are named."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class SysctlKey:
    """A file below /proc/sys/net, as its path's parts: device names may contain dots."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(("net", *self.path))


def conf_key(family: str, device: str, name: str) -> SysctlKey:
    """net.<family>.conf.<device>.<name>; family is "ipv4" or "ipv6", device also "all" and "default"."""
    return SysctlKey((family, "conf", device, name))


KernelSysctls = Mapping[SysctlKey, int]
