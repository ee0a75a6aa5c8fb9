"""What every `ReceivePorts` must answer alike: the kernel, and the fake that stands in for it.

Each case begins without a port for GUE and leaves none.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Final

from lvs_agent.decide.kernel_state import AddressFamily, ReceivePort
from lvs_agent.errors import ReceivePortError
from lvs_agent.kernel.interface import ReceivePorts

_FOUR: Final = ReceivePort(AddressFamily.IPV4, 6080)
_SIX: Final = ReceivePort(AddressFamily.IPV6, 6080)
_LAST: Final = ReceivePort(AddressFamily.IPV4, 65535)
Occupy = Callable[[ReceivePort], contextlib.AbstractContextManager[None]]
"""Somebody's socket has a port while this lasts."""


def both_families_have_one_number(given: ReceivePorts, _: Occupy) -> str | None:
    """A port of one family leaves the other's free."""
    for port in (_FOUR, _SIX, _LAST):
        given.open(port)
    return _differs(given, {_FOUR, _SIX, _LAST})


def one_that_is_open_is_refused(given: ReceivePorts, _: Occupy) -> str | None:
    """And stays open."""
    given.open(_FOUR)
    if given.is_free(_FOUR) or not given.is_free(_SIX):
        return "the wrong port is called free"
    return _refused(given, _FOUR) or _differs(given, {_FOUR})


def one_that_a_program_has_is_refused(given: ReceivePorts, occupy: Occupy) -> str | None:
    """And is there once the program has let it go."""
    if not given.is_free(_FOUR):
        return f"{_FOUR} is not called free"
    with occupy(_FOUR):
        if given.is_free(_FOUR) or not given.is_free(_SIX):
            return "the wrong port is called free"
        if (said := _refused(given, _FOUR) or _differs(given, set())) is not None:
            return said
    given.open(_FOUR)
    return _differs(given, {_FOUR})


def closing_takes_one_and_again_nothing(given: ReceivePorts, _: Occupy) -> str | None:
    """The others stay."""
    given.open(_FOUR)
    given.open(_SIX)
    given.close_port(_FOUR)
    given.close_port(_FOUR)
    return _differs(given, {_SIX})


CASES: Final = (
    both_families_have_one_number,
    one_that_is_open_is_refused,
    one_that_a_program_has_is_refused,
    closing_takes_one_and_again_nothing,
)


def complaints(given: ReceivePorts, occupy: Occupy) -> dict[str, str | None]:
    """Run every case; what was not as it should be, by the case's name."""
    found: dict[str, str | None] = {}
    for case in CASES:
        found[case.__name__] = _differs(given, set()) or case(given, occupy)
        for port in given.read():
            given.close_port(port)
    return found


@contextlib.contextmanager
def bound_socket(port: ReceivePort) -> Iterator[None]:
    """A program's UDP socket at every address of a port's family."""
    with socket.socket(socket.AddressFamily(port.family), socket.SOCK_DGRAM) as taken:
        if port.family is AddressFamily.IPV6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("", port.port))
        yield


def _differs(given: ReceivePorts, wanted: set[ReceivePort]) -> str | None:
    found = given.read()
    return None if found == wanted else f"there is {set(found)}, not {wanted}"


def _refused(given: ReceivePorts, port: ReceivePort) -> str | None:
    try:
        given.open(port)
    except ReceivePortError:
        return None
    return f"{port} is opened though it is taken"
