"""The real ports for GUE: generic netlink family `fou` (linux/fou.h, net/ipv4/fou_core.c), packed by hand.

Nothing loads the module fou on demand, for it names no alias. But the kernel looks for a network device that it lacks
by loading a module of just its name (dev_load in net/core/dev_ioctl.c), in the name of the node and not of the
container that asks; for that the agent needs CAP_SYS_MODULE, as a privileged one has.
"""

import contextlib
import errno
import os
import socket
from typing import Final

from lvs_agent.decide.kernel_state import AddressFamily, ReceivePort
from lvs_agent.decide.receive_ports import in_use
from lvs_agent.errors import PermissionRefused, ReceivePortError
from lvs_agent.kernel.netlink_socket import AnswerLost, NetlinkSocket, RequestRefused
from lvs_agent.kernel.netlink_wire import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    WireError,
    attribute,
    attributes,
    error_code,
    family_id,
    generic_message,
    get_family_message,
)

FAMILY_NAME: Final = "fou"
_MODULE: Final = "fou"
_CMD_ADD, _CMD_DELETE, _CMD_GET = 1, 2, 3
_ATTR_PORT, _ATTR_FAMILY, _ATTR_TYPE = 1, 2, 4
_NARROWED: Final = range(6, 12)
"""FOU_ATTR_LOCAL_V4 to FOU_ATTR_IFINDEX: which packets alone are meant, all zero where every one is."""
_ENCAP_GUE: Final = 2
_NOT_PERMITTED: Final = {errno.EPERM, errno.EACCES}
_TRIES: Final = 3
_IN_USE: Final = {errno.EADDRINUSE, errno.EALREADY}


class KernelReceivePorts:
    """`ReceivePorts` on the kernel of the network namespace of the thread that asks first."""

    def __init__(self, netlink: NetlinkSocket | None = None) -> None:
        self._socket = netlink or NetlinkSocket()
        self._family: int | None = None

    def read(self) -> frozenset[ReceivePort]:
        """One dump; another where a change interrupted it."""
        for _ in range(_TRIES):
            try:
                return self._dump()
            except AnswerLost:
                continue
            except RequestRefused as error:
                if error.code in _NOT_PERMITTED:
                    raise _permission(error.code) from error
                self._family = None  # of a module that was unloaded
                if error.code != errno.ENOENT:
                    raise ReceivePortError(f"ports for GUE can not be read: {error}") from error
            except WireError as error:
                self._socket.close()
                raise ReceivePortError(f"the kernel's answer about ports for GUE is not understood: {error}") from error
        raise ReceivePortError("ports for GUE could not be read in one piece")

    def is_free(self, port: ReceivePort) -> bool:
        """As a program finds it that asks for all of it; what else is in the way is told by opening it."""
        try:
            with socket.socket(socket.AddressFamily(port.family), socket.SOCK_DGRAM) as asking:
                if port.family is AddressFamily.IPV6:
                    asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                asking.bind(("", port.port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True

    def open(self, port: ReceivePort) -> None:
        """Bind it to every address of its family."""
        self._look_up()
        if self._family is None:
            with contextlib.suppress(OSError):
                socket.if_nametoindex(_MODULE)
            self._look_up()
        if self._family is None:
            raise ReceivePortError(f"{port}: the kernel can not unwrap GUE: load the module {_MODULE} on this node")
        code = self._ask(_CMD_ADD, port)
        if code in _NOT_PERMITTED:
            raise _permission(code)
        if code in _IN_USE:
            raise ReceivePortError(in_use(port))
        if code:
            raise ReceivePortError(f"{port}: {os.strerror(code)}")

    def close_port(self, port: ReceivePort) -> None:
        """The kernel answers EINVAL where there is none."""
        self._look_up()
        code = self._ask(_CMD_DELETE, port) if self._family is not None else 0
        if code in _NOT_PERMITTED:
            raise _permission(code)
        if code not in {0, errno.EINVAL}:
            raise ReceivePortError(f"{port} can not be closed: {os.strerror(code)}")

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()

    def _dump(self) -> frozenset[ReceivePort]:
        self._look_up()
        if self._family is None:
            return frozenset()
        sequence = self._socket.next_sequence()
        request = generic_message(self._family, _CMD_GET, NLM_F_REQUEST | NLM_F_DUMP, sequence, b"")
        found = (read_port(raw) for _, raw in self._socket.dump(request))
        return frozenset(port for port in tuple(found) if port is not None)

    def _look_up(self) -> None:
        """The family's number, which it gets when the module is loaded: asked for each time, for that may be undone."""
        self._family = None
        sequence = self._socket.next_sequence()
        try:
            self._socket.send(get_family_message(FAMILY_NAME, sequence))
            for buffer, message in self._socket.answers(sequence):
                if message.type != NLMSG_ERROR:
                    self._family = family_id(buffer, message)
                elif (code := error_code(buffer, message)) != errno.ENOENT:
                    raise ReceivePortError(f"the kernel does not answer about GUE: {os.strerror(code)}")
        except AnswerLost as error:
            raise ReceivePortError(f"the kernel does not answer about GUE: {error}") from error

    def _ask(self, command: int, port: ReceivePort) -> int:
        """The errno of one request, 0 for none."""
        assert self._family is not None  # noqa: S101 (looked up by both who call)
        sequence = self._socket.next_sequence()
        flags = NLM_F_REQUEST | NLM_F_ACK
        try:
            self._socket.send(generic_message(self._family, command, flags, sequence, request_payload(port)))
            for buffer, message in self._socket.answers(sequence):
                if message.type == NLMSG_ERROR:
                    return error_code(buffer, message)
        except AnswerLost as error:
            raise ReceivePortError(f"{port}: {error}") from error
        raise ReceivePortError(f"{port}: no answer of the kernel")


def request_payload(port: ReceivePort) -> bytes:
    """What names a port for GUE of every address."""
    return (
        attribute(_ATTR_PORT, port.port.to_bytes(2, "big"))
        + attribute(_ATTR_FAMILY, bytes((port.family,)))
        + attribute(_ATTR_TYPE, bytes((_ENCAP_GUE,)))
    )


def read_port(raw: bytes) -> ReceivePort | None:
    """A port out of the kernel's list; None where it takes something else, or not from anybody everywhere.

    Linux before 5.2 names no addresses. Raises WireError.
    """
    found = {kind: raw[start:end] for kind, (start, end) in attributes(memoryview(raw), 0, len(raw)).items()}
    if any(any(found.get(kind, b"")) for kind in _NARROWED) or found.get(_ATTR_TYPE) != bytes((_ENCAP_GUE,)):
        return None
    try:
        return ReceivePort(AddressFamily(found[_ATTR_FAMILY][0]), int.from_bytes(found[_ATTR_PORT], "big"))
    except (KeyError, ValueError) as error:
        raise WireError(f"a port without family or number: {error!r}") from error


def _permission(code: int) -> PermissionRefused:
    return PermissionRefused(f"ports for GUE: {os.strerror(code)}: the agent needs CAP_NET_ADMIN")
