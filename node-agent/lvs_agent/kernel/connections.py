"""The real connections: a file of the network namespace of the process that reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from lvs_agent.errors import IpvsReadFailed, IpvsUnavailable, PermissionRefused
from lvs_agent.kernel.interface import ConnectionLines


class ProcConnections:
    """`Connections` on procfs, a page of memory at a time.

    For each page the kernel walks its table from the start: the whole of a large one takes a time that grows with its
    square, so nobody reads without a bound.
    """

    def __init__(self, path: Path = Path("/proc/net/ip_vs_conn")) -> None:
        self._path = path

    def read(self, most: int) -> ConnectionLines:
        """The first of them."""
        with _mapped(), self._path.open(encoding="latin-1") as file:
            next(file, "")  # the heading
            lines = tuple(islice(file, most))
            return ConnectionLines(lines=lines, cut=next(file, None) is not None)


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise IpvsUnavailable("the kernel has no connections of IPVS: ip_vs is not loaded") from error
    except PermissionError as error:
        raise PermissionRefused(f"connections can not be read: {error.strerror}") from error
    except OSError as error:
        raise IpvsReadFailed(f"connections can not be read: {error.strerror}") from error
