"""A kernel that answers as IPVS does, by generic netlink, and whose answers may be bent."""

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast

from lvs_agent.decide.changes import AddDestination, AddService, IpvsChange
from lvs_agent.decide.kernel_state import (
    DestinationKey,
    DestinationSettings,
    ForwardingMethod,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
)
from lvs_agent.kernel.ipvs_codec import CMD_GET_DEST, CMD_GET_SERVICE, RequestEncoder
from lvs_agent.kernel.netlink_wire import (
    GENL_ID_CTRL,
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    generic_message,
    messages,
)

Answer = bytes | OSError
FAMILY = 31
RR = ServiceSettings(scheduler="rr")
NAT = DestinationSettings(weight=1, method=ForwardingMethod.MASQUERADE)


def service(number: int) -> ServiceKey:
    return ServiceKey(protocol=TransportProtocol.TCP, address=ip_address("10.0.0.1"), port=number)


def destination(number: int) -> DestinationKey:
    return DestinationKey(address=ip_address("10.1.0.1"), port=number)


class ScriptedKernel:
    """Answers requests as IPVS does, from what a test says the table is; every answer may be bent on its way."""

    def __init__(self) -> None:
        self.table: dict[ServiceKey, list[DestinationKey]] = {}
        self.family: int | None = FAMILY
        self.refuse: dict[int, int] = {}
        self.bend: Callable[[int, int, list[Answer]], list[Answer]] = lambda _command, _nth, answers: answers
        self.opened = 0
        self.seen: list[int] = []
        self.fail_sends: list[int] = []
        """The errno of each of the next sends."""
        self.sends: list[int] = []
        self._queue: deque[Answer] = deque()
        self._writes = 0

    def open(self) -> socket.socket:
        self.opened += 1
        self._queue.clear()
        return cast("socket.socket", self)

    def close(self) -> None:
        self._queue.clear()

    def send(self, data: bytes) -> int:
        if self.fail_sends:
            code = self.fail_sends.pop()
            raise OSError(code, os.strerror(code))
        self.sends.append(len(data))
        for message in messages(memoryview(data)):
            command = data[message.start]
            self.seen.append(command)
            flags = HEADER.unpack_from(data, message.start - HEADER.size)[2]
            payload = data[message.start + 4 : message.end]
            answers = self._answers(message.type, command, flags, message.sequence, payload)
            self._queue.extend(self.bend(command, self.seen.count(command), answers))
        return len(data)

    def recv_into(self, buffer: bytearray) -> int:
        if not self._queue:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        answer = self._queue.popleft()
        if isinstance(answer, OSError):
            raise answer
        buffer[: len(answer)] = answer
        return len(answer)

    def _answers(self, kind: int, command: int, flags: int, sequence: int, payload: bytes) -> list[Answer]:
        if kind == GENL_ID_CTRL:
            if self.family is None:
                return [error(sequence, errno.ENOENT)]
            family = attribute(1, struct.pack("=H", self.family))
            return [generic_message(GENL_ID_CTRL, 1, 0, sequence, family)]
        if kind != self.family:
            return [error(sequence, errno.ENOENT)]
        if command == CMD_GET_SERVICE and not flags & NLM_F_DUMP:
            return [self._one_service(sequence, payload)]
        if command in {CMD_GET_SERVICE, CMD_GET_DEST}:
            return [self._dump(command, sequence), done(sequence)]
        self._writes += 1
        code = self.refuse.get(self._writes, 0)
        return [error(sequence, code)] if code or flags & NLM_F_ACK else []

    def _one_service(self, sequence: int, payload: bytes) -> bytes:
        encoder = RequestEncoder(FAMILY)
        for key in self.table:
            if encoder.get_service(key, 0)[20:] == payload:
                return encoder.change(AddService(service=key, settings=RR), sequence)
        return error(sequence, errno.ESRCH)

    def _dump(self, command: int, sequence: int) -> bytes:
        # A dump carries the attributes of a request.
        encoder = RequestEncoder(FAMILY)
        entries: list[IpvsChange] = [AddService(service=key, settings=RR) for key in self.table]
        if command == CMD_GET_DEST:
            keys = list(self.table)
            asked = keys[(self.seen.count(CMD_GET_DEST) - 1) % len(keys)]
            entries = [AddDestination(service=asked, destination=key, settings=NAT) for key in self.table[asked]]
        return b"".join(encoder.change(entry, sequence) for entry in entries)


def error(sequence: int, code: int) -> bytes:
    return HEADER.pack(36, NLMSG_ERROR, 0, sequence, 0) + struct.pack("=i16x", -code)


def done(sequence: int, code: int = 0) -> bytes:
    return HEADER.pack(20, NLMSG_DONE, 2, sequence, 0) + struct.pack("=i", -code)


def drop_empty(kernel: ScriptedKernel) -> None:
    """The kernel sends no empty part."""
    kernel.bend = lambda _command, _nth, answers: [a for a in answers if a]
