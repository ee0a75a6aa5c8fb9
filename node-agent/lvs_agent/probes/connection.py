"""Opens a probe's connection, and tells what this node can not do from what a real server does not answer."""

import asyncio
import errno
import socket
from typing import Final

from lvs_agent.probes.interface import CheckNotMade

_OWN_FAULTS: Final = frozenset(
    {
        errno.EPERM, errno.EACCES,  # a filter, or a route of type prohibit
        errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EINVAL,  # no route, or one of another such type
        errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,  # no port, descriptor, memory
    }
)  # fmt: skip


async def connect(address: str, port: int) -> socket.socket:
    """A TCP connection to a literal address.

    Raises CheckNotMade where the kernel refused to send anything, OSError where the network said no. What the kernel
    refuses it refuses at once (tcp_v4_connect in net/ipv4/tcp_ipv4.c); what comes over the network comes later.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise CheckNotMade(error.strerror) from error
    try:
        try:
            connection.connect((address, port))
        except BlockingIOError:
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
        except OSError as error:
            if error.errno in _OWN_FAULTS:
                raise CheckNotMade(error.strerror) from error
            raise
    except BaseException:
        connection.close()
        raise
    return connection
