"""Whether somebody speaks VRRP in this network namespace, in whatever container: /proc/net/raw and raw6.

keepalived has a raw socket of protocol 112 for as long as it lives, and so has its supervisor. The kernel lists a raw
socket with its protocol in the place of a port (raw_sock_seq_show in net/ipv4/raw.c).
"""

from pathlib import Path
from typing import Final

_LISTS: Final = (Path("/proc/net/raw"), Path("/proc/net/raw6"))
_VRRP: Final = f"{112:04X}"
_LOCAL: Final = 1


def vrrp_is_spoken(lists: tuple[Path, ...] = _LISTS) -> bool:
    """True also where it can not be found out."""
    try:
        return any(_names_vrrp(path.read_text(encoding="ascii")) for path in lists if path.exists())
    except OSError:
        return True


def _names_vrrp(text: str) -> bool:
    rows = [line.split() for line in text.splitlines()[1:]]
    return any(row[_LOCAL].rpartition(":")[2] == _VRRP for row in rows)
