"""When IPVS ought to have counted what arrived, and what is made of it that it did not."""

from ipaddress import ip_address

import pytest
from agent_world import NAME, SERVICE, VIP, destination, director, member, service, service_on

from lvs_agent.decide.kernel_state import (
    DestinationSettings,
    DestinationState,
    FirewallMarkKey,
    ForwardingMethod,
    Persistence,
    ServiceFlag,
    ServiceKey,
    ServiceSettings,
    ServiceState,
    TrafficCounters,
    TransportProtocol,
)
from lvs_agent.decide.prepared_plan import prepare
from lvs_agent.decide.unseen_packets import (
    FORGET_SECONDS,
    MOST_TIMES,
    RAISE_TIMES,
    Evidence,
    Suspicions,
    choose,
    follow,
    fronts_of,
    is_still,
    service_for,
    summary,
    told,
    with_evidence,
    would_count,
)
from lvs_api.conditions import Reason
from lvs_api.network_types import Family, Protocol
from lvs_core.plan import MarkKey, VirtualServerKey

CARRIED = frozenset({ip_address(VIP)})
EVIDENCE = Evidence(NAME, SERVICE, "eth0", strict=False)
STRICT = Evidence(NAME, SERVICE, "eth1", strict=True)
FALLBACK = ServiceFlag.SCHEDULER_1
STICKY = Persistence(timeout_seconds=9, prefix_length=32)


def to(weight: int, *, upper: int = 0, lower: int = 0, active: int = 0, inactive: int = 0) -> DestinationState:
    settings = DestinationSettings(
        weight=weight, method=ForwardingMethod.DIRECT_ROUTE, upper_threshold=upper, lower_threshold=lower
    )
    return DestinationState(settings, active_connections=active, inactive_connections=inactive)


def state(*destinations: DestinationState, settings: ServiceSettings | None = None) -> ServiceState:
    numbered = {destination(number): one for number, one in enumerate(destinations, 101)}
    return ServiceState(settings=settings or ServiceSettings(scheduler="rr"), destinations=numbered)


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        (state(), False),
        (state(to(1)), True),
        (state(to(0)), False),
        (state(to(0), to(1)), True),
        (state(to(1, upper=10, active=5, inactive=2)), True),
        (state(to(1, upper=10, active=5, inactive=3)), False),
        (state(to(1, upper=10, lower=3, active=2)), True),
        (state(to(1, upper=10, lower=3, active=2, inactive=1)), False),
        (state(to(1, upper=10, active=9), to(1)), True),
        (state(to(1), settings=ServiceSettings(scheduler="rr", persistence_engine="sip")), False),
        (state(to(1), settings=ServiceSettings(scheduler="rr", persistence=STICKY)), True),
        *((state(to(0), to(1), settings=ServiceSettings(scheduler=name)), False) for name in ("sh", "dh", "mh")),
        *((state(to(1), to(1), settings=ServiceSettings(scheduler=name)), True) for name in ("sh", "dh", "mh")),
        (state(settings=ServiceSettings(scheduler="sh")), False),
        (state(to(0), to(1), settings=ServiceSettings(scheduler="sh", flags=FALLBACK)), True),
        (state(to(2, active=2), settings=ServiceSettings(scheduler="ovf")), False),
        (state(to(2, active=1), settings=ServiceSettings(scheduler="ovf")), True),
    ],
)  # fmt: skip
def test_ipvs_counts_what_some_destination_takes(found: ServiceState, *, counts: bool) -> None:
    assert would_count(found) is counts


def test_counters_stand_still_whatever_rates_do() -> None:
    before = TrafficCounters(1, 2, 0, 100, 0, connections_per_second=5)
    assert is_still(before, before._replace(connections_per_second=3, in_packets_per_second=1))
    for index in range(5):
        moved = list(before)
        moved[index] += 1
        assert not is_still(before, TrafficCounters._make(moved))
    assert not is_still(before, TrafficCounters()), "somebody zeroed them"
    assert not is_still(None, before)
    assert not is_still(before, None)


def test_fronts_are_what_comes_here_for_services_that_the_kernel_has() -> None:
    away = ip_address("192.168.4.16")
    virtual = [VirtualServerKey(address=ip_address(VIP), port=port, protocol=Protocol.TCP) for port in (443, 8443)]
    mark = MarkKey(mark=10, family=Family.IPV4)
    plan = director(
        service(member(101)),
        service(member(101), key=VirtualServerKey(address=away, port=80, protocol=Protocol.TCP)),
        service(member(101), key=mark, vip=ip_address(VIP), marked=tuple(virtual)),
        service(member(101), key=MarkKey(mark=11, family=Family.IPV4), vip=ip_address(VIP)),
        service(member(101), key=VirtualServerKey(address=ip_address(VIP), port=81, protocol=Protocol.TCP)),
    )
    prepared = prepare(plan)
    present = frozenset(one.key for one in prepared.services) - {service_on(81)}
    fronts = fronts_of(prepared, present, CARRIED)
    kernel = {front: found.key for front, found in fronts.items()}
    of_mark = next(one.key for one in prepared.services if isinstance(one.key, FirewallMarkKey) and one.key.mark == 10)
    assert kernel == {SERVICE: SERVICE, service_on(443): of_mark, service_on(8443): of_mark}
    assert fronts_of(prepared, present, frozenset()) == {}


def test_a_port_of_its_own_comes_before_every_port() -> None:
    every = VirtualServerKey(address=ip_address(VIP), port=0, protocol=Protocol.TCP)
    prepared = prepare(director(service(member(101)), service(member(101), key=every)))
    fronts = fronts_of(prepared, frozenset(one.key for one in prepared.services), CARRIED)

    def balances(port: int, protocol: TransportProtocol = TransportProtocol.TCP) -> int | None:
        found = service_for(ServiceKey(protocol=protocol, address=ip_address(VIP), port=port), fronts)
        return None if found is None else found.key.port if isinstance(found.key, ServiceKey) else -1

    assert (balances(80), balances(81), balances(80, TransportProtocol.UDP)) == (80, 0, None)


def suspected(times: int, evidence: Evidence = EVIDENCE) -> Suspicions:
    found: Suspicions = {}
    for moment in range(times):
        found = with_evidence(found, {SERVICE: evidence}, float(moment))
    return found


def test_it_is_told_after_several_looks_and_over_when_something_is_counted() -> None:
    assert told(suspected(RAISE_TIMES - 1)) == {}
    found = suspected(RAISE_TIMES)
    fault = told(found)[SERVICE]
    assert fault.reason is Reason.PACKETS_NOT_SEEN
    assert f"packets for {NAME} at {SERVICE} arrive by eth0" in fault.message
    assert "firewalld" in fault.message
    watched = {SERVICE: prepare(director(service(member(101)))).services[0]}
    assert follow(found, frozenset(), watched, 10.0) == found
    assert follow(suspected(RAISE_TIMES - 1), frozenset({SERVICE}), watched, 10.0) == {}
    assert told(follow(found, frozenset({SERVICE}), watched, 10.0)) == {}
    assert follow(found, frozenset(), {}, 10.0) == {}
    last = float(RAISE_TIMES - 1)
    assert follow(found, frozenset(), watched, last + FORGET_SECONDS - 1) == found
    assert follow(found, frozenset(), watched, last + FORGET_SECONDS) == {}


def test_where_some_clients_are_counted_it_takes_longer_each_time() -> None:
    watched = {SERVICE: prepare(director(service(member(101)))).services[0]}
    found: Suspicions = {}
    looks: list[int] = []
    for _ in range(7):
        looks.append(0)
        while not told(found):
            found = with_evidence(found, {SERVICE: EVIDENCE}, 0.0)
            looks[-1] += 1
        found = follow(found, frozenset({SERVICE}), watched, 0.0)
    assert looks == [RAISE_TIMES, 6, 12, 24, MOST_TIMES, MOST_TIMES, MOST_TIMES]
    assert follow(found, frozenset({SERVICE}), watched, FORGET_SECONDS - 1) == found, "as long as packets come"
    assert follow(found, frozenset(), watched, FORGET_SECONDS) == {}


def test_the_words_change_only_with_what_is_to_be_done() -> None:
    found = suspected(RAISE_TIMES)
    other_port = EVIDENCE._replace(front=service_on(81))
    assert told(with_evidence(found, {SERVICE: other_port}, 9.0)) == told(found)
    before = told(found)
    for _ in range(RAISE_TIMES):
        assert told(with_evidence(found, {SERVICE: EVIDENCE}, 9.0)) == before, "now so and now so"
        assert told(found) == before
        found = with_evidence(found, {SERVICE: STRICT}, 9.0)
    assert "Set net.ipv4.conf.eth1.rp_filter=2" in told(found)[SERVICE].message


def test_packets_by_two_devices_in_turn_change_no_words() -> None:
    found = suspected(RAISE_TIMES)
    before = told(found)
    for _ in range(10):
        for device in ("eth1", EVIDENCE.device):
            found = with_evidence(found, {SERVICE: EVIDENCE._replace(device=device)}, 9.0)
            assert told(found) == before


def test_the_longest_sentence_has_room_in_an_exception() -> None:
    """512 characters, with what may stand before and behind it."""
    longest = ServiceKey(
        protocol=TransportProtocol.SCTP, address=ip_address("2001:db8:1111:2222:3333:4444:5555:6666"), port=65535
    )
    evidence = Evidence(NAME._replace(namespace="n" * 30, name="s" * 63), longest, "d" * 15, strict=False)
    message = told(suspected(RAISE_TIMES, evidence))[SERVICE].message
    assert len(message) < 470
    assert message.endswith("too")


def test_a_node_names_some_and_counts_the_others() -> None:
    assert summary({}) is None
    found: Suspicions = {}
    for _ in range(RAISE_TIMES):
        evidence = {service_on(port): EVIDENCE._replace(front=service_on(port)) for port in range(80, 85)}
        found = with_evidence(found, evidence, 0.0)
    fault = summary(told(found))
    assert fault is not None
    assert (fault.message.count("arrive by"), "and so 2 more" in fault.message) == (3, True)


def test_each_has_its_turn_and_who_is_suspected_is_never_left_out() -> None:
    fronts = [service_on(port) for port in range(1, 11)]
    suspect = service_on(10)
    turns, turn = [], 0
    for _ in range(3):
        choice = choose(fronts, frozenset({suspect}), turn, 4)
        turns.append(choice.fronts)
        turn = choice.turn
    assert all(len(turn) == 4 and turn[0] == suspect for turn in turns)
    assert {front for turn in turns for front in turn} == set(fronts)
    assert choose([], frozenset({suspect}), 5, 4).fronts == []
    assert len(choose(fronts[:3], frozenset(), 7, 4).fronts) == 3
    assert len(choose(fronts, frozenset(fronts), 0, 4).fronts) == 4
