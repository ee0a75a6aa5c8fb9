"""One agent per network namespace: an abstract unix socket, whose names each network namespace has for itself.

The kernel frees the name when the process ends, however it ends, and no file stays behind (unix(7)). Nobody needs a
right to take one, so whoever is refused is told by whom.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lvs_agent.errors import NamespaceInUse

_NAME: Final = b"\0lvs-operator.io/lvs-agent"
_PROC: Final = Path("/proc")
_DATAGRAM: Final = "0002"
"""In /proc/net/unix; each type of sockets has names of its own (unix_abstract_hash in net/unix/af_unix.c)."""
_COLUMNS: Final = 8


class AbstractSocketLock:
    """`NamespaceLock` by a bound name."""

    def __init__(self, name: bytes = _NAME) -> None:
        self._name = name
        self._socket: socket.socket | None = None

    def acquire(self) -> None:
        """Take it, or raise NamespaceInUse."""
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            holder.bind(self._name)
        except OSError as error:
            holder.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise NamespaceInUse(
                "another lvs-agent works in this network namespace: stop it, or run this one in another namespace. "
                f"{_holder(self._name)} has the name {_shown(self._name)}, which any process here can take: "
                "if it is no lvs-agent, end it"
            ) from error
        self._socket = holder

    def release(self) -> None:
        """Give it back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _holder(name: bytes) -> str:
    """Who has a name, as far as this process can see."""
    inode = next((inode for inode, path in _unix_sockets() if path == _shown(name)), None)
    if inode is None:
        return "A process that has just ended"
    link = f"socket:[{inode}]"
    for process in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or may not be looked at
            if any(str(file.readlink()) == link for file in (process / "fd").iterdir()):
                program = (process / "comm").read_text(errors="replace").strip()
                return f"Process {process.name} ({program}) of user {process.stat().st_uid}"
    return f"A process that can not be seen from here (socket {inode} in /proc/net/unix)"


def _unix_sockets() -> Iterator[tuple[str, str]]:
    """Inode and name of each datagram socket of this network namespace that has a name (proc_net(5))."""
    for line in (_PROC / "thread-self/net/unix").read_text(errors="replace").splitlines()[1:]:
        columns = line.split(maxsplit=_COLUMNS - 1)
        if len(columns) == _COLUMNS and columns[4] == _DATAGRAM:
            yield columns[6], columns[7]


def _shown(name: bytes) -> str:
    """A name as /proc shows it."""
    return name.replace(b"\0", b"@").decode(errors="replace")
