"""The real IPVS table: batched writes with one acknowledgement each, and reads that are whole or fail.

A batch goes out in few sends. The kernel applies every message of a send and answers only those that failed, and the
last; the numbers in the answers name the changes. When an answer is lost nothing is known about the batch, which is
said (`certain`), and the caller's reading of the table tells.

A dump of several parts goes on by position: entries that go, and a table that is resized in between (since Linux 7.0),
make it skip others, and IPVS does not say so (ip_vs_genl_dump_services). So what was there before, or was just made,
and is not in such a dump is asked for by name.
"""

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    EditDestination,
    EditService,
    IpvsChange,
)
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    DestinationState,
    IpvsInfo,
    KernelIpvs,
    ServiceSettings,
    ServiceState,
    TrafficCounters,
)
from lvs_agent.errors import (
    EntryExists,
    EntryNotFound,
    EntryRefused,
    IpvsEntryError,
    IpvsReadFailed,
    PermissionRefused,
    SchedulerNotAvailable,
)
from lvs_agent.kernel import ipvs_codec as codec
from lvs_agent.kernel.interface import IpvsApplied, IpvsFailure
from lvs_agent.kernel.ipvs_conversation import NOT_PERMITTED, IpvsConversation
from lvs_agent.kernel.ipvs_decode import EntryDecoder, decode_info
from lvs_agent.kernel.ipvs_summary import TableSummary
from lvs_agent.kernel.netlink_socket import AnswerLost, NetlinkSocket, RequestRefused
from lvs_agent.kernel.netlink_wire import GENL_HEADER, NLMSG_ERROR, error_code

Result = TypeVar("Result")

_BATCH = 500
_READ_TRIES = 5
_FIRST_DUMPS, _QUIET_DUMPS = 20, 2
_SERVICE_COMMANDS = (AddService, EditService)


class _Service(NamedTuple):
    """A service out of a dump, its counters not unpacked yet."""

    settings: ServiceSettings
    message: bytes


class KernelIpvsTable(IpvsConversation):
    """`IpvsTable` on the kernel of this network namespace (that of the thread at first use)."""

    def __init__(self, socket: NetlinkSocket | None = None, summary: TableSummary | None = None) -> None:
        super().__init__(socket)
        self._summary = summary or TableSummary()
        self._decoder = EntryDecoder()
        self._seen: set[AnyServiceKey] = set()
        self._read_before = False

    def info(self) -> IpvsInfo:
        """Version and connection table size."""
        with self._understanding():
            sequence = self._socket.next_sequence()
            self._socket.send(self._resolved().info(sequence))
            for buffer, message in self._socket.answers(sequence):
                if message.type == NLMSG_ERROR:
                    self._refused(error_code(buffer, message))
                return decode_info(buffer, message)
        raise AnswerLost("no answer about IPVS")

    def read(self) -> KernelIpvs:
        """The whole table."""
        return self._retrying(lambda: self._with_destinations(self._all_services()))

    def read_only(self, services: Iterable[AnyServiceKey]) -> KernelIpvs:
        """These services with their destinations."""
        wanted = list(services)
        return self._retrying(lambda: self._with_destinations(self._named_services(wanted)))

    def read_services(self) -> Mapping[AnyServiceKey, ServiceSettings]:
        """Every service, without destinations."""
        services = self._retrying(self._all_services)
        return {key: found.settings for key, found in services.items()}

    def read_counters(self) -> Mapping[AnyServiceKey, TrafficCounters]:
        """What every service has counted."""
        services = self._retrying(self._all_services)
        return {key: self._decoder.service_counters(found.message) for key, found in services.items()}

    def glance(self) -> bytes | None:
        """The table in short."""
        return self._summary.read()

    def apply(self, changes: Sequence[IpvsChange]) -> IpvsApplied:
        """Carry out the changes in their order."""
        with self._understanding():
            encoder = self._resolved()
        for change in changes:
            if type(change) is AddDestination:
                self._decoder.learn(change.destination)
            elif type(change) is AddService:
                self._seen.add(change.service)
        refused: list[tuple[IpvsChange, int]] = []
        certain = True
        remaining = iter(changes)
        while batch := list(islice(remaining, _BATCH)):
            try:
                with self._understanding():
                    refused += self._send_batch(encoder, batch)
            except AnswerLost:
                certain = False
        return IpvsApplied(written=len(changes) - len(refused), failures=failures_of(refused), certain=certain)

    def close(self) -> None:
        """Release socket and file; the table stays as it is."""
        super().close()
        self._summary.close()

    def _send_batch(self, encoder: codec.RequestEncoder, batch: list[IpvsChange]) -> list[tuple[IpvsChange, int]]:
        """One send; the changes that the kernel refused, with their errno."""
        first = self._socket.next_sequence(len(batch))
        last = first + len(batch) - 1
        encode = encoder.change
        requests = [encode(change, first + index) for index, change in enumerate(batch[:-1])]
        requests.append(encoder.last_change(batch[-1], last))
        self._socket.send(b"".join(requests))
        refused: list[tuple[IpvsChange, int]] = []
        for buffer, message in self._socket.answers(last):
            code = error_code(buffer, message) if message.type == NLMSG_ERROR else 0
            if code:
                refused.append((batch[message.sequence - first], code))
        return refused

    def _retrying(self, read: Callable[[], Result]) -> Result:
        lost: AnswerLost | None = None
        for _ in range(_READ_TRIES):
            try:
                with self._understanding():
                    return read()
            except AnswerLost as error:
                lost = error
        raise IpvsReadFailed(f"the IPVS table could not be read in {_READ_TRIES} tries: {lost}")

    def _all_services(self) -> dict[AnyServiceKey, _Service]:
        services, parts = self._dump_services()
        if parts > 1:
            if not self._read_before:
                services = self._dump_until_quiet(services)
            services |= self._named_services(self._seen - services.keys())
        self._seen, self._read_before = set(services), True
        return services

    def _dump_until_quiet(self, services: dict[AnyServiceKey, _Service]) -> dict[AnyServiceKey, _Service]:
        """For a first read, which knows nothing: the last of several dumps, when two in a row brought nothing unseen.

        What the last one lacks has been seen by then, and is asked for by name.
        """
        quiet = 0
        for _ in range(_FIRST_DUMPS):
            self._seen |= services.keys()
            services, _ = self._dump_services()
            quiet = quiet + 1 if services.keys() <= self._seen else 0
            if quiet == _QUIET_DUMPS:
                return services
        raise AnswerLost("services keep coming while they are read")

    def _named_services(self, keys: Iterable[AnyServiceKey]) -> dict[AnyServiceKey, _Service]:
        """Those of these services that exist."""
        asked = ((key, self._get_service(key)) for key in keys)
        return {key: found for key, found in asked if found is not None}

    def _with_destinations(self, services: Mapping[AnyServiceKey, _Service]) -> KernelIpvs:
        whole: dict[AnyServiceKey, ServiceState] = {}
        for key, found in services.items():
            destinations = self._all_destinations(key)
            # To a service that was just deleted the kernel answers with no destinations instead of an error.
            if destinations or self._get_service(key) is not None:
                counters = self._decoder.service_counters(found.message)
                whole[key] = ServiceState(settings=found.settings, destinations=destinations, counters=counters)
        return KernelIpvs(services=whole, wide_counters=self._decoder.wide_counters)

    def _all_destinations(self, service: AnyServiceKey) -> dict[DestinationKey, DestinationState]:
        destinations, parts = self._dump_destinations(service)
        if parts > 1:  # one destination can not be asked for by name: twice the same is the truth
            again, _ = self._dump_destinations(service)
            if again.keys() != destinations.keys():
                raise AnswerLost(f"destinations of {service} changed while they were read")
        return destinations

    def _get_service(self, key: AnyServiceKey) -> _Service | None:
        sequence = self._socket.next_sequence()
        self._socket.send(self._resolved().get_service(key, sequence))
        for buffer, message in self._socket.answers(sequence):
            if message.type != NLMSG_ERROR:
                payload = bytes(buffer[message.start + GENL_HEADER.size : message.end])
                decoded = self._decoder.service(payload)
                return decoded and _Service(decoded[1], payload)
            code = error_code(buffer, message)
            if code != errno.ESRCH:
                self._refused(code)
        return None

    def _dump_services(self) -> tuple[dict[AnyServiceKey, _Service], int]:
        """What one dump says, and in how many parts it came."""
        try:
            return self._dump_services_as_resolved()
        except RequestRefused as refused:
            if refused.code != errno.ENOENT:
                self._refused(refused.code)
        # The module was unloaded and perhaps loaded again: then the family has another number.
        self._encoder = None
        try:
            return self._dump_services_as_resolved()
        except RequestRefused as refused:
            self._refused(refused.code)

    def _dump_services_as_resolved(self) -> tuple[dict[AnyServiceKey, _Service], int]:
        request = self._resolved().dump_services(self._socket.next_sequence())
        services: dict[AnyServiceKey, _Service] = {}
        decode = self._decoder.service
        part = 0
        for part, payload in self._socket.dump(request):  # noqa: B007 (the last number is wanted)
            decoded = decode(payload)
            if decoded is not None:
                key, settings = decoded
                services[key] = _Service(settings, payload)
        return services, part

    def _dump_destinations(self, service: AnyServiceKey) -> tuple[dict[DestinationKey, DestinationState], int]:
        """What one dump says, and in how many parts it came."""
        request = self._resolved().dump_destinations(service, self._socket.next_sequence())
        decode, family = self._decoder.destination, service.family
        part = 0
        destinations: dict[DestinationKey, DestinationState] = {}
        try:
            for part, payload in self._socket.dump(request):  # noqa: B007 (the last number is wanted)
                key, state = decode(payload, family)
                destinations[key] = state
        except RequestRefused as refused:
            raise AnswerLost(f"destinations of {service}: {refused}") from refused
        return destinations, part


def failures_of(refused: Iterable[tuple[IpvsChange, int]]) -> tuple[IpvsFailure, ...]:
    """What the refused changes of one batch mean. A refused new service is one failure, not one per destination."""
    failures: list[IpvsFailure] = []
    not_made: set[AnyServiceKey] = set()
    for change, code in refused:
        if code in NOT_PERMITTED:
            raise PermissionRefused(f"IPVS: {os.strerror(code)}: the agent needs CAP_NET_ADMIN")
        if isinstance(change, AddService):
            not_made.add(change.service)
        elif change.service in not_made and code == errno.ESRCH:
            continue
        failures.append(IpvsFailure(change=change, error=entry_error(change, code)))
    return tuple(failures)


def entry_error(change: IpvsChange, code: int) -> IpvsEntryError:
    """What an errno means for a change (ip_vs_ctl.c: ip_vs_add_service, ip_vs_edit_service, ip_vs_add_dest ...)."""
    if code == errno.EEXIST:
        return EntryExists(f"{describe(change)}: somebody else made it meanwhile")
    if code == errno.ENOENT and isinstance(change, _SERVICE_COMMANDS):
        engine = change.settings.persistence_engine
        what = f"scheduler {change.settings.scheduler!r} (module ip_vs_{change.settings.scheduler})"
        if engine:
            what += f" or no persistence engine {engine!r} (module ip_vs_pe_{engine})"
        return SchedulerNotAvailable(f"{describe(change)}: this node's kernel has no {what}")
    if code == errno.ENOMEM:
        return EntryRefused(f"{describe(change)}: the kernel has no memory for it; it is made when there is some again")
    if code in {errno.ENOENT, errno.ESRCH}:
        return EntryNotFound(f"{describe(change)}: it, or its service, is not there any more")
    return EntryRefused(f"{describe(change)}: the kernel refused it: {os.strerror(code)}")


def describe(change: IpvsChange) -> str:
    """The entry that a change is about, for messages."""
    if isinstance(change, AddService | EditService):
        return f"service {change.service} (scheduler {change.settings.scheduler})"
    if isinstance(change, AddDestination | EditDestination):
        settings = change.settings
        text = f"weight {settings.weight}, {settings.method.name}"
        if settings.upper_threshold or settings.lower_threshold:
            text += f", thresholds {settings.upper_threshold} and {settings.lower_threshold}"
        return f"destination {change.destination} of service {change.service} ({text})"
    if isinstance(change, DeleteDestination):
        return f"destination {change.destination} of service {change.service}"
    return f"service {change.service}"
