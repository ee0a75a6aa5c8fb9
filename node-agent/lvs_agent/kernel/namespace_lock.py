"""One agent per network namespace: an abstract unix socket, whose names each network namespace has for itself.

The kernel frees the name when the process ends, however it ends, and no file stays behind (unix(7)).
"""

import errno
import socket

from lvs_agent.errors import NamespaceInUse

_NAME = b"\0lvs-operator.io/lvs-agent"


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
                "another lvs-agent works in this network namespace: stop it, or run this one in another namespace"
            ) from error
        self._socket = holder

    def release(self) -> None:
        """Give it back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
