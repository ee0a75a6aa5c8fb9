"""The real FTP helper: what it follows is in a file; the kernel loads it when it is asked for a scheduler of that name.

Nothing loads ip_vs_ftp on demand. But the kernel looks for a scheduler that it lacks by loading `ip_vs_` and its name
(ip_vs_scheduler_get in ip_vs_sched.c), in the name of the node and not of the container that asks: so a scheduler `ftp`
is asked for. The module brings none, so no service comes of it. The right to load modules is not needed, as it is not
for schedulers.
"""

from pathlib import Path
from typing import Final

from lvs_agent.decide.changes import AddService, DeleteService
from lvs_agent.decide.kernel_state import AddressFamily, FirewallMarkKey, ServiceSettings
from lvs_agent.errors import IpvsReadFailed, PermissionRefused
from lvs_agent.kernel.interface import IpvsTable

_NAME: Final = "ftp"
_ASKED: Final = FirewallMarkKey(family=AddressFamily.IPV4, mark=0xFFFFFFFF)
"""A service that nobody has: of one that exists the kernel would say so before it looks for the scheduler."""


class ModuleFtpHelper:
    """`FtpHelper` on the kernel of this network namespace."""

    def __init__(self, ipvs: IpvsTable, path: Path = Path("/proc/net/ip_vs_app")) -> None:
        self._ipvs = ipvs
        self._path = path

    def ports(self) -> frozenset[int]:
        """What it follows: lines of protocol, port, connections and name (ip_vs_app_seq_show)."""
        try:
            lines = self._path.read_text(encoding="latin-1").splitlines()[1:]
        except FileNotFoundError:
            return frozenset()  # ip_vs itself is not loaded
        except PermissionError as error:
            raise PermissionRefused(f"helpers of IPVS can not be read: {error.strerror}") from error
        except OSError as error:
            raise IpvsReadFailed(f"helpers of IPVS can not be read: {error.strerror}") from error
        words = [line.split() for line in lines]
        return frozenset(int(port) for protocol, port, _, name in words if (protocol, name) == ("TCP", _NAME))

    def load(self) -> None:
        """Ask for the scheduler that there is not."""
        applied = self._ipvs.apply([AddService(service=_ASKED, settings=ServiceSettings(scheduler=_NAME))])
        if applied.written:
            self._ipvs.apply([DeleteService(service=_ASKED)])
