"""The real sysctls: files below /proc/sys/net of the network namespace of the process that reads them."""

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.errors import PermissionRefused, SysctlError

_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO}
_READ_ONLY = {errno.EPERM, errno.EACCES, errno.EROFS}


class ProcSysctls:
    """`Sysctls` on procfs; `root` is another mount of /proc/sys/net, as a hardened pod has one."""

    def __init__(self, root: Path = Path("/proc/sys/net")) -> None:
        self._root = str(root)

    def read(self, keys: Iterable[SysctlKey]) -> Mapping[SysctlKey, int]:
        """The present values; keys that do not exist are left out."""
        values: dict[SysctlKey, int] = {}
        for key in keys:
            try:
                with open(self._path(key), encoding="ascii") as file:  # noqa: PTH123 (thousands of reads: plain open)
                    values[key] = int(file.read())
            except OSError as error:
                if error.errno not in _GONE:
                    raise SysctlError(f"reading {key}: {error.strerror}") from error
        return values

    def write(self, key: SysctlKey, value: int) -> None:
        """Set one value."""
        try:
            descriptor = os.open(self._path(key), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, str(value).encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _READ_ONLY:
                raise PermissionRefused(
                    f"writing {key}={value}: {error.strerror}: the agent needs a writable /proc/sys/net"
                ) from error
            raise SysctlError(f"writing {key}={value}: {error.strerror}") from error

    def _path(self, key: SysctlKey) -> str:
        if any("/" in part or part in {"", ".", ".."} for part in key.path):
            raise SysctlError(f"{key} is no sysctl's name")
        return "/".join((self._root, *key.path))
