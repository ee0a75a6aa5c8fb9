"""IPVS as bytes: dumps recorded from a kernel, requests that a kernel took, and round trips of anything at all."""

import json
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    IpvsChange,
    ZeroService,
)
from lvs_agent.decide.kernel_settings import SyncDaemon, SyncState, Timeout
from lvs_agent.decide.kernel_state import (
    IPIP,
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
    TrafficCounters,
    TransportProtocol,
    TunnelFlag,
    TunnelSettings,
    TunnelType,
)
from lvs_agent.kernel.contract import TABLES
from lvs_agent.kernel.ipvs_codec import RequestEncoder
from lvs_agent.kernel.ipvs_decode import EntryDecoder, decode_daemon, decode_timeouts
from lvs_agent.kernel.netlink_wire import (
    HEADER,
    HEADERS_LENGTH,
    U16,
    U32,
    WireError,
    attribute,
    attributes,
    generic_message,
    messages,
    nested,
)

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ipvs_dumps_linux_7.2.json").read_text())
FAMILY = 30


@pytest.mark.parametrize("name", TABLES)
def test_what_a_kernel_dumped_is_what_was_put_in(name: str) -> None:
    decoder, wanted = EntryDecoder(), TABLES[name]
    services = [decoder.service(bytes.fromhex(payload)) for payload in RECORDED[name]["services"]]
    found = {entry[0]: entry[1] for entry in services if entry}
    assert found == {key: wish.settings for key, wish in wanted.items()}
    for key, wish in wanted.items():
        payloads = [bytes.fromhex(payload) for payload in RECORDED[name]["destinations"][str(key)]]
        read = dict(decoder.destination(payload, key.family) for payload in payloads)
        assert {d: state.settings for d, state in read.items()} == wish.destinations
        assert all(state.counters == TrafficCounters() and state.connections == 0 for state in read.values())


WEB = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address("192.168.4.15"), port=80)
ONE = DestinationKey(address=ip_address("192.168.4.100"), port=80)


def test_a_request_byte_for_byte() -> None:
    """As accepted by Linux 7.2; field by field from linux/netlink.h, genetlink.h and ip_vs.h."""
    settings = DestinationSettings(weight=3, method=ForwardingMethod.DIRECT_ROUTE, upper_threshold=9)
    change = AddDestination(service=WEB, destination=ONE, settings=settings)
    request = RequestEncoder(FAMILY).change(change, 7)
    expected = b"".join(
        (
            struct.pack("=IHHII BBH", 140, FAMILY, 1, 7, 0, 5, 1, 0),
            struct.pack("=HH HHHxx HHHxx", 48, 0x8001, 6, 1, 2, 6, 2, 6),
            struct.pack("=HH 4B12x HH2sxx", 20, 3, 192, 168, 4, 15, 6, 4, b"\x00\x50"),
            struct.pack("=HH HH 4B12x HH2sxx HHHxx", 72, 0x8002, 20, 1, 192, 168, 4, 100, 6, 2, b"\x00\x50", 6, 11, 2),
            struct.pack("=HHI HHI HHI HHI", 8, 3, 3, 8, 4, 3, 8, 5, 9, 8, 6, 0),
        )
    )
    assert HEADER.unpack_from(request)[0] == len(request) == len(expected)
    assert request == expected


ports = st.integers(0, 65535)
counts = st.integers(0, 2**31 - 1)
v4, v6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
addresses = v4 | v6
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=15)
service_keys: st.SearchStrategy[AnyServiceKey] = st.builds(
    ServiceKey, protocol=st.sampled_from(TransportProtocol), address=addresses, port=ports
) | st.builds(FirewallMarkKey, family=st.sampled_from(AddressFamily), mark=st.integers(1, 2**32 - 1))
tunnels = st.builds(
    TunnelSettings,
    type=st.sampled_from([TunnelType.IPIP, TunnelType.GUE, TunnelType.GRE]),
    port=ports,
    flags=st.sampled_from([TunnelFlag(0), TunnelFlag.CHECKSUM, TunnelFlag.REMOTE_CHECKSUM]),
)


@st.composite
def services(draw: st.DrawFn) -> tuple[AnyServiceKey, ServiceSettings]:
    key = draw(service_keys)
    longest = 32 if key.family is AddressFamily.IPV4 else 128
    persistence = st.builds(Persistence, timeout_seconds=counts, prefix_length=st.integers(1, longest))
    flags = [ServiceFlag(0), ServiceFlag.ONE_PACKET, ServiceFlag.SCHEDULER_1 | ServiceFlag.SCHEDULER_3]
    return key, draw(
        st.builds(
            ServiceSettings,
            scheduler=names,
            flags=st.sampled_from(flags),
            persistence=st.none() | persistence,
            persistence_engine=st.just("") | names,
        )
    )


@st.composite
def destinations(draw: st.DrawFn) -> tuple[DestinationKey, DestinationSettings]:
    method = draw(st.sampled_from([m for m in ForwardingMethod if m is not ForwardingMethod.OTHER]))
    settings = st.builds(
        DestinationSettings,
        weight=counts,
        method=st.just(method),
        upper_threshold=counts,
        lower_threshold=counts,
        tunnel=tunnels if method is ForwardingMethod.TUNNEL else st.just(IPIP),
    )
    return draw(st.builds(DestinationKey, address=addresses, port=ports)), draw(settings)


def payload_of(change: IpvsChange, sequence: int = 1) -> bytes:
    request = RequestEncoder(FAMILY).change(change, sequence)
    (message,) = messages(memoryview(request))
    assert (message.type, message.sequence, message.end) == (FAMILY, sequence, len(request))
    return request[HEADERS_LENGTH:]


@given(services())
def test_services_round_trip(entry: tuple[AnyServiceKey, ServiceSettings]) -> None:
    """Requests and dumps carry an entry in the same attributes."""
    key, settings = entry
    payload = payload_of(AddService(service=key, settings=settings))
    decoder = EntryDecoder()
    assert [decoder.service(payload) for _ in range(2)] == [(key, settings)] * 2
    assert decoder.service_counters(payload) == TrafficCounters()


@given(service_keys, st.lists(destinations(), min_size=1, max_size=5))
def test_destinations_round_trip(
    service: AnyServiceKey, entries: list[tuple[DestinationKey, DestinationSettings]]
) -> None:
    """Several through one decoder, as layouts are shared."""
    decoder = EntryDecoder()
    for key, settings in entries:
        payload = payload_of(EditDestination(service=service, destination=key, settings=settings))
        found, state = decoder.destination(payload, service.family)
        assert (found, state.settings) == (key, settings)


@given(service_keys, destinations())
def test_deletions_name_the_entry_and_nothing_else(
    service: AnyServiceKey, entry: tuple[DestinationKey, DestinationSettings]
) -> None:
    whole = payload_of(DeleteDestination(service=service, destination=entry[0]))
    outer = attributes(memoryview(whole), 0, len(whole))
    assert set(outer) == {1, 2}
    assert set(attributes(memoryview(whole), *outer[2])) == {1, 2, 11}
    alone = payload_of(DeleteService(service=service))
    assert alone == whole[: len(alone)]


@given(st.ip_addresses(), st.ip_addresses(), ports, ports)
def test_keys_are_equal_exactly_when_their_fields_are(
    one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address, port: int, other_port: int
) -> None:
    first, second = DestinationKey(address=one, port=port), DestinationKey(address=other, port=other_port)
    assert (first == second) == ((one, port) == (other, other_port))
    assert first == DestinationKey(address=ip_address(str(one)), port=port)
    assert hash(first) == hash(DestinationKey(address=ip_address(str(one)), port=port))
    tcp, udp = (ServiceKey(protocol=p, address=one, port=port) for p in (TransportProtocol.TCP, TransportProtocol.UDP))
    assert tcp != udp
    assert first not in {tcp, udp}


def test_an_ipv4_address_is_not_the_ipv6_one_with_the_same_bytes() -> None:
    four = DestinationKey(address=ip_address("32.1.13.184"), port=80)
    six = DestinationKey(address=ip_address("2001:db8::"), port=80)
    assert four.identity[:4] == six.identity[:4]
    assert four != six


def without(payload: bytes, *numbers: int) -> bytes:
    """A destination as a kernel that does not know these attributes dumps it."""
    view = memoryview(payload)
    inner = attributes(view, *attributes(view, 0, len(view))[2])
    kept = [attribute(n, payload[start:end]) for n, (start, end) in inner.items() if n not in numbers]
    return nested(2, *kept)


@pytest.mark.parametrize("missing", [(13, 14, 15), (12, 13, 14, 15), (11, 12, 13, 14, 15)])
def test_older_kernels_say_less(missing: tuple[int, ...]) -> None:
    """Tunnel types came with 5.3, 64-bit counters with 4.1, the destination's own family with 3.18."""
    table = TABLES["IPv6"]
    key = next(key for key, wish in table.items() if wish.settings.scheduler == "wlc")
    (payload,) = RECORDED["IPv6"]["destinations"][str(key)]
    decoder = EntryDecoder()
    whole = decoder.destination(bytes.fromhex(payload), AddressFamily.IPV6)
    assert decoder.destination(without(bytes.fromhex(payload), *missing), AddressFamily.IPV6) == whole


def test_counters_that_a_kernel_dumped_are_what_ipvsadm_showed() -> None:
    """A persistent service under Masquerade after twelve requests, five of them just before."""
    recorded = json.loads((Path(__file__).parent / "data" / "ipvs_counters_linux_7.2.json").read_text())
    shown, decoder = recorded["ipvsadm"], EntryDecoder()
    counters = TrafficCounters(*shown["stats"], *shown["rate"])
    assert decoder.service_counters(bytes.fromhex(recorded["service"])) == counters
    _, state = decoder.destination(bytes.fromhex(recorded["destination"]), AddressFamily.IPV4)
    connections = (state.active_connections, state.inactive_connections, state.persistent_connections)
    assert connections == (shown["active"], shown["inactive"], shown["persistent"])
    assert state.counters == counters
    assert decoder.wide_counters


def test_services_seen_before_are_told_apart_by_all_but_their_counters() -> None:
    """Through one decoder, each once more with other counters."""
    decoder = EntryDecoder()
    payloads = [bytes.fromhex(payload) for table in RECORDED.values() for payload in table["services"]]
    first = [EntryDecoder().service(payload) for payload in payloads]
    assert [decoder.service(payload) for payload in payloads] == first
    counted = [payload[:-8] + b"\x07" * 8 for payload in payloads]
    assert [decoder.service(payload) for payload in counted] == first
    assert all(decoder.service_counters(payload).out_bytes_per_second for payload in counted)


NARROW, WIDE = "IIIQQIIIII", "QQQQQQQQQQ"


def with_counters(**counters: range) -> bytes:
    """A recorded destination with these in place of its counters, as ip_vs_genl_fill_stats and its 64-bit twin do."""
    payload = bytes.fromhex(RECORDED["persistence"]["destinations"]["TCP 10.0.0.2:0"][0])
    view = memoryview(payload)
    inner = attributes(view, *attributes(view, 0, len(view))[2])
    parts = [attribute(n, payload[start:end]) for n, (start, end) in inner.items() if n not in {10, 12}]
    for number, layout, name in ((10, NARROW, "narrow"), (12, WIDE, "wide")):
        values = zip(layout, counters.get(name, ()), strict=name in counters)
        counted = [attribute(n, struct.pack(f"={letter}", value)) for n, (letter, value) in enumerate(values, 1)]
        parts += [nested(number, *counted)] if counted else []
    return nested(2, *parts)


def test_counters_of_64_bits_go_before_those_of_32() -> None:
    decoder = EntryDecoder()
    wide = range(2**40, 2**40 + 10)
    _, state = decoder.destination(with_counters(narrow=range(10), wide=wide), AddressFamily.IPV4)
    assert state.counters == TrafficCounters(*wide)
    assert state.counters.out_bytes_per_second == 2**40 + 9
    assert decoder.wide_counters


def test_counters_of_32_bits_alone_are_taken_and_said() -> None:
    decoder = EntryDecoder()
    _, state = decoder.destination(with_counters(narrow=range(1, 11)), AddressFamily.IPV4)
    assert state.counters == TrafficCounters(*range(1, 11))
    assert not decoder.wide_counters


def test_equal_lengths_with_other_layouts_are_told_apart() -> None:
    """The same attributes in another order have the same length."""
    payload = bytes.fromhex(RECORDED["persistence"]["destinations"]["TCP 10.0.0.2:0"][0])
    view = memoryview(payload)
    inner = attributes(view, *attributes(view, 0, len(view))[2])
    turned = nested(2, *(attribute(n, payload[start:end]) for n, (start, end) in reversed(inner.items())))
    decoder = EntryDecoder()
    assert len(turned) == len(without(payload))
    for _ in range(2):
        assert decoder.destination(without(payload), AddressFamily.IPV4) == decoder.destination(
            turned, AddressFamily.IPV4
        )


def test_strange_entries_of_others_do_not_end_a_read() -> None:
    settings = DestinationSettings(weight=1, method=ForwardingMethod.OTHER)
    payload = payload_of(AddDestination(service=WEB, destination=ONE, settings=settings))
    assert EntryDecoder().destination(payload, AddressFamily.IPV4)[1].settings == settings
    esp = bytearray(payload_of(AddService(service=WEB, settings=ServiceSettings(scheduler="rr"))))
    start = attributes(memoryview(esp), *attributes(memoryview(esp), 0, len(esp))[1])[2][0]
    esp[start] = 50
    assert EntryDecoder().service(bytes(esp)) is None


def test_shared_values_are_bounded() -> None:
    decoder = EntryDecoder(remember=10)
    for number in range(100):
        key = DestinationKey(address=IPv4Address(number), port=number)
        settings = DestinationSettings(weight=number, method=ForwardingMethod.MASQUERADE)
        payload = payload_of(AddDestination(service=WEB, destination=key, settings=settings))
        assert decoder.destination(payload, AddressFamily.IPV4)[0] == key
    assert len(decoder._destination_keys) <= 10
    assert len(decoder._destination_settings) <= 10


@pytest.mark.parametrize(
    "damaged", [struct.pack("=IHHII", 8, 2, 0, 1, 0), struct.pack("=IHHII", 64, 2, 0, 1, 0)], ids=["short", "long"]
)
def test_damaged_messages_are_refused(damaged: bytes) -> None:
    with pytest.raises(WireError):
        list(messages(memoryview(damaged)))


@pytest.mark.parametrize("damaged", [b"\x02\0\x01\0", b"\xff\0\x01\0"], ids=["short", "long"])
def test_damaged_attributes_are_refused(damaged: bytes) -> None:
    with pytest.raises(WireError):
        attributes(memoryview(damaged), 0, len(damaged))


FIRST = (attribute(1, U32.pack(2)), attribute(2, b"eth0\0"), attribute(3, U32.pack(7)))
"""A backup daemon's state, interface and id."""


@pytest.mark.parametrize(
    ("more", "group"),
    [
        (attribute(5, bytes([224, 0, 0, 81])), "224.0.0.81"),
        (attribute(6, ip_address("ff02::51").packed), "ff02::51"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_sync_daemons(more: bytes, group: str) -> None:
    """As ip_vs_genl_fill_daemon of Linux 4.3 and newer fills it."""
    rest = (attribute(4, U16.pack(1472)), more, attribute(7, U16.pack(8848)), attribute(8, b"\1"))
    daemon = SyncDaemon(interface="eth0", sync_id=7, max_length=1472, group=ip_address(group), port=8848, ttl=1)
    assert decode_daemon(nested(3, *FIRST, *rest)) == (SyncState.BACKUP, daemon)


def test_a_sync_daemon_of_an_older_kernel() -> None:
    """It says no more, and uses what it was built with (IP_VS_SYNC_GROUP, IP_VS_SYNC_PORT)."""
    daemon = SyncDaemon(interface="eth0", sync_id=7, group=ip_address("224.0.0.81"), port=8848, ttl=1)
    assert decode_daemon(nested(3, *FIRST)) == (SyncState.BACKUP, daemon)


def test_timeouts_of_a_kernel_without_udp() -> None:
    payload = attribute(4, U32.pack(900)) + attribute(5, U32.pack(120))
    answer = generic_message(FAMILY, 12, 0, 1, payload)
    (message,) = messages(memoryview(answer))
    assert decode_timeouts(memoryview(answer), message) == {Timeout.TCP: 900, Timeout.TCP_FIN: 120}


def test_zeroing_names_the_service_and_nothing_else() -> None:
    assert payload_of(ZeroService(service=WEB)) == payload_of(DeleteService(service=WEB))
    assert RequestEncoder(FAMILY).change(ZeroService(service=WEB), 1)[HEADER.size] == 16
