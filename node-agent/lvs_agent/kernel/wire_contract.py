"""A conversation with the kernel in which every command of ours and every kind of object occurs.

Each exchange is a request, and what the kernel's answer says. It is held with the kernel of a lab
(`record_conversation`), and what was recorded then is held against the codec in unit tests.
"""

import contextlib
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
    ZeroService,
)
from lvs_agent.decide.kernel_settings import SyncDaemon, SyncState, Timeout
from lvs_agent.decide.kernel_state import (
    NO_SERVICE_FLAGS,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    FirewallMarkKey,
    ForwardingMethod,
    Persistence,
    ServiceFlag,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
    TunnelFlag,
    TunnelSettings,
    TunnelType,
    WantedIpvs,
    WantedService,
)
from lvs_agent.kernel.ipvs_codec import FAMILY_NAME, RequestEncoder
from lvs_agent.kernel.ipvs_decode import EntryDecoder, decode_daemon, decode_info, decode_timeouts
from lvs_agent.kernel.netlink_socket import generic_netlink_socket
from lvs_agent.kernel.netlink_wire import (
    HEADER,
    HEADERS_LENGTH,
    NLMSG_DONE,
    NLMSG_ERROR,
    errno_of,
    family_id,
    get_family_message,
    messages,
)

DEVICE: Final = "wire0"
"""Where the sync daemons run: it must have an address of each family."""
_NLM_F_MULTI: Final = 2
_CHUNK: Final = 1 << 17
_DAEMON_NAMES: Final = ("ipvs-m:", "ipvs-b:")
_ASLEEP: Final = frozenset("SI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request with what the whole messages of its answer say."""

    name: str
    request: Callable[[RequestEncoder, int], bytes]
    """For a sequence number."""
    read: Callable[[Sequence[bytes]], object]
    says: object


def _key(protocol: str, address: str, port: int) -> ServiceKey:
    return ServiceKey(protocol=TransportProtocol[protocol], address=ip_address(address), port=port)


def _to(address: str, port: int) -> DestinationKey:
    return DestinationKey(address=ip_address(address), port=port)


def _by(method: str, weight: int = 1, upper: int = 0, lower: int = 0) -> DestinationSettings:
    return DestinationSettings(
        weight=weight, method=ForwardingMethod[method], upper_threshold=upper, lower_threshold=lower
    )


def _in(kind: str, port: int = 0, flag: str | None = None) -> DestinationSettings:
    flags = TunnelFlag[flag] if flag is not None else TunnelFlag(0)
    tunnel = TunnelSettings(type=TunnelType[kind], port=port, flags=flags)
    return DestinationSettings(weight=1, method=ForwardingMethod.TUNNEL, tunnel=tunnel)


def _sticky(scheduler: str, seconds: int, prefix: int, flags: ServiceFlag = NO_SERVICE_FLAGS) -> ServiceSettings:
    persistence = Persistence(timeout_seconds=seconds, prefix_length=prefix)
    return ServiceSettings(scheduler=scheduler, persistence=persistence, flags=flags)


_WEB: Final = _key("TCP", "10.0.0.1", 80)
_GUE: Final = _to("10.1.0.4", 80)
TABLE: Final[WantedIpvs] = {
    _WEB: WantedService(
        settings=ServiceSettings(scheduler="wrr"),
        destinations={
            _to("10.1.0.1", 8080): _by("MASQUERADE", 3, 100, 50),
            _to("10.1.0.2", 80): _by("DIRECT_ROUTE", 65535),
            _to("10.1.0.3", 80): _in("IPIP"),
            _GUE: _in("GUE", 6080),
            _to("10.1.0.5", 80): _in("GUE", 6080, "CHECKSUM"),
            _to("10.1.0.6", 80): _in("GUE", 6080, "REMOTE_CHECKSUM"),
            _to("10.1.0.7", 80): _in("GRE"),
            _to("10.1.0.8", 80): _in("GRE", 0, "CHECKSUM"),
            _to("2001:db8:1::1", 80): _in("IPIP"),
        },
    ),
    _key("UDP", "2001:db8::53", 53): WantedService(
        settings=ServiceSettings(scheduler="rr", flags=ServiceFlag.ONE_PACKET),
        destinations={
            _to("2001:db8:1::1", 5353): _by("MASQUERADE"),
            _to("2001:db8:1::2", 53): _in("IPIP"),
            _to("2001:db8:1::3", 53): _in("GUE", 6080, "CHECKSUM"),
            _to("10.1.0.1", 53): _in("GRE"),
        },
    ),
    _key("SCTP", "10.0.0.2", 0): WantedService(
        settings=_sticky("sh", 60, 24, ServiceFlag.SCHEDULER_1 | ServiceFlag.SCHEDULER_2),
        destinations={_to("10.1.0.1", 0): _by("DIRECT_ROUTE")},
    ),
    FirewallMarkKey(family=AddressFamily.IPV4, mark=10): WantedService(
        settings=ServiceSettings(scheduler="mh", flags=ServiceFlag.SCHEDULER_2),
        destinations={_to("10.1.0.1", 0): _by("DIRECT_ROUTE", 0)},
    ),
    FirewallMarkKey(family=AddressFamily.IPV6, mark=2**32 - 1): WantedService(
        settings=_sticky("lc", 300, 64), destinations={_to("2001:db8:1::1", 0): _in("GRE", 0, "CHECKSUM")}
    ),
}
_MASTER: Final = SyncDaemon(
    interface=DEVICE, sync_id=7, group=ip_address("224.0.0.99"), port=8849, ttl=2, max_length=1400
)
_BACKUP: Final = SyncDaemon(
    interface=DEVICE, sync_id=255, group=ip_address("ff02::51"), port=8850, ttl=3, max_length=2048
)
_TIMEOUTS: Final = {Timeout.TCP: 800, Timeout.TCP_FIN: 70, Timeout.UDP: 200}


def _errors(answers: Sequence[bytes]) -> list[int]:
    """The errno of each answer, 0 for an acknowledgement; an answer that is none brings -1."""
    found = []
    for answer in answers:
        (message,) = messages(memoryview(answer))
        found.append(errno_of(answer[message.start :]) if message.type == NLMSG_ERROR else -1)
    return found


def _payloads(answers: Sequence[bytes]) -> list[bytes]:
    """What follows the headers of each answer; the end of a dump is left out."""
    whole = [(next(messages(memoryview(answer))), answer) for answer in answers]
    return [answer[HEADERS_LENGTH:] for message, answer in whole if message.type not in {NLMSG_DONE, NLMSG_ERROR}]


def _services(answers: Sequence[bytes]) -> Mapping[AnyServiceKey, ServiceSettings]:
    decoder = EntryDecoder()
    return {entry[0]: entry[1] for payload in _payloads(answers) if (entry := decoder.service(payload)) is not None}


def _destinations(family: AddressFamily, answers: Sequence[bytes]) -> Mapping[DestinationKey, DestinationSettings]:
    decoder = EntryDecoder()
    return {key: state.settings for key, state in (decoder.destination(one, family) for one in _payloads(answers))}


def _timeouts(answers: Sequence[bytes]) -> Mapping[Timeout, int]:
    (answer,) = answers
    (message,) = messages(memoryview(answer))
    return decode_timeouts(memoryview(answer), message)


def _daemons(answers: Sequence[bytes]) -> Mapping[SyncState, SyncDaemon]:
    return dict(decode_daemon(payload) for payload in _payloads(answers))


def _version(answers: Sequence[bytes]) -> str:
    (answer,) = answers
    (message,) = messages(memoryview(answer))
    return decode_info(memoryview(answer), message).version


def _order(name: str, request: Callable[[RequestEncoder, int], bytes]) -> Exchange:
    return Exchange(name=name, request=request, read=_errors, says=[0])


def _change(change: IpvsChange) -> Exchange:
    def request(encoder: RequestEncoder, sequence: int) -> bytes:
        return encoder.last_change(change, sequence)

    return _order(f"{type(change).__name__} {change.service} {getattr(change, 'destination', '')}".strip(), request)


def _dump_of(key: AnyServiceKey, says: Mapping[DestinationKey, DestinationSettings]) -> Exchange:
    def request(encoder: RequestEncoder, sequence: int) -> bytes:
        return encoder.dump_destinations(key, sequence)

    return Exchange(name=f"destinations of {key}", request=request, read=partial(_destinations, key.family), says=says)


def _get(key: AnyServiceKey, settings: ServiceSettings) -> Exchange:
    def request(encoder: RequestEncoder, sequence: int) -> bytes:
        return encoder.get_service(key, sequence)

    return Exchange(name=f"service {key}", request=request, read=_services, says={key: settings})


def _about_settings() -> list[Exchange]:
    read = partial(Exchange, request=RequestEncoder.dump_daemons, read=_daemons)
    master = partial(RequestEncoder.start_daemon, state=SyncState.MASTER, daemon=_MASTER)
    backup = partial(RequestEncoder.start_daemon, state=SyncState.BACKUP, daemon=_BACKUP)
    return [
        Exchange(name="version", request=RequestEncoder.info, read=_version, says="1.2.1"),
        _order("time-outs", lambda encoder, sequence: encoder.set_timeouts(_TIMEOUTS, sequence)),
        Exchange(name="time-outs read", request=RequestEncoder.get_timeouts, read=_timeouts, says=_TIMEOUTS),
        read(name="no daemon", says={}),
        _order("start the master", lambda encoder, sequence: master(encoder, sequence=sequence)),
        _order("start the backup", lambda encoder, sequence: backup(encoder, sequence=sequence)),
        read(name="both daemons", says={SyncState.MASTER: _MASTER, SyncState.BACKUP: _BACKUP}),
        _order("stop the master", lambda encoder, sequence: encoder.stop_daemon(SyncState.MASTER, sequence)),
        read(name="one daemon", says={SyncState.BACKUP: _BACKUP}),
        _order("stop the backup", lambda encoder, sequence: encoder.stop_daemon(SyncState.BACKUP, sequence)),
    ]


def _about_entries() -> list[Exchange]:
    made = [_change(AddService(service=key, settings=wish.settings)) for key, wish in TABLE.items()]
    made += [_get(key, wish.settings) for key, wish in TABLE.items()]
    made += [
        _change(AddDestination(service=key, destination=one, settings=settings))
        for key, wish in TABLE.items()
        for one, settings in wish.destinations.items()
    ]
    dump = partial(Exchange, name="all services", request=RequestEncoder.dump_services, read=_services)
    made.append(dump(says={key: wish.settings for key, wish in TABLE.items()}))
    made += [_dump_of(key, wish.destinations) for key, wish in TABLE.items()]
    other, less = ServiceSettings(scheduler="wlc"), dict(TABLE[_WEB].destinations)
    less[_GUE] = _by("MASQUERADE", 0, 9, 3)
    made += [
        _change(EditService(service=_WEB, settings=other)),
        _get(_WEB, other),
        _change(EditDestination(service=_WEB, destination=_GUE, settings=less[_GUE])),
        _dump_of(_WEB, dict(less)),
        _change(ZeroService(service=_WEB)),
    ]
    for one in (_GUE, _to("2001:db8:1::1", 80)):
        made.append(_change(DeleteDestination(service=_WEB, destination=one)))
        del less[one]
    made.append(_dump_of(_WEB, less))
    made += [_change(DeleteService(service=key)) for key in TABLE]
    made.append(dump(says={}))
    return made


EXCHANGES: Final[tuple[Exchange, ...]] = (*_about_settings(), *_about_entries())
"""In their order, on an empty table. At its end the table is empty, and time-outs are left as they were set."""


def record_conversation() -> dict[str, Any]:
    """Hold it with the kernel of this network namespace; what went there and back, whole messages as hex."""
    with generic_netlink_socket() as connection:
        connection.send(get_family_message(FAMILY_NAME, 1))
        answer = memoryview(connection.recv(_CHUNK))
        family = family_id(answer, next(messages(answer)))
        encoder = RequestEncoder(family)
        held = []
        for sequence, exchange in enumerate(EXCHANGES, 2):
            request = exchange.request(encoder, sequence)
            _wait_until_daemons_run()
            connection.send(request)
            answers: list[bytes] = []
            while not answers or not _is_last(answers[-1]):
                buffer = memoryview(connection.recv(_CHUNK))
                answers += [bytes(buffer[m.start - HEADER.size : m.end]) for m in messages(buffer)]
            held.append({"name": exchange.name, "request": request.hex(), "answers": [one.hex() for one in answers]})
    return {"family": family, "exchanges": held}


def _wait_until_daemons_run() -> None:
    """Of a sync daemon that is stopped before its thread ever ran there is no acknowledgement.

    Once it has run it sleeps. Raises TimeoutError when one does not within ten seconds.
    """
    end = time.monotonic() + 10
    while not all(line.rsplit(")", 1)[1].split()[0] in _ASLEEP for line in _threads(_DAEMON_NAMES)):
        if time.monotonic() > end:
            raise TimeoutError("a sync daemon's thread does not sleep")
        time.sleep(0.01)


def _threads(names: tuple[str, ...]) -> list[str]:
    """What /proc says of the threads whose names begin so: `ID (NAME) STATE ...`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/stat"):
        # One that ended meanwhile is none.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            line = process.read_text(encoding="utf-8", errors="replace")
            if line.split("(", 1)[1].startswith(names):
                found.append(line)
    return found


def misunderstandings(recorded: Mapping[str, Any]) -> dict[str, str]:
    """By exchange, in what a recording differs from what is sent now, and its answers from what they shall say."""
    encoder = RequestEncoder(recorded["family"])
    complaints: dict[str, str] = {}
    names = [held["name"] for held in recorded["exchanges"]]
    if names != [exchange.name for exchange in EXCHANGES]:
        complaints["all"] = f"other exchanges were recorded: {names}"
    for held, exchange in zip(recorded["exchanges"], EXCHANGES, strict=False):
        request = bytes.fromhex(held["request"])
        sequence: int = struct.unpack_from("=8xI", request)[0]
        if exchange.request(encoder, sequence) != request:
            complaints[exchange.name] = "another request was recorded"
        said = exchange.read([bytes.fromhex(answer) for answer in held["answers"]])
        if said != exchange.says:
            complaints[exchange.name] = f"the kernel said {said}, not {exchange.says}"
    return complaints


def _is_last(answer: bytes) -> bool:
    (message,) = messages(memoryview(answer))
    return message.type in {NLMSG_DONE, NLMSG_ERROR} or not message.flags & _NLM_F_MULTI
