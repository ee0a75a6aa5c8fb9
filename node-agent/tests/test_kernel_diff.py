"""Diff and ownership over the fake kernel: tables of cases, and properties for any tables at all."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
)
from lvs_agent.decide.kernel_diff import diff_ipvs
from lvs_agent.decide.kernel_state import (
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    DestinationState,
    ForwardingMethod,
    KernelIpvs,
    Persistence,
    ServiceKey,
    ServiceSettings,
    ServiceState,
    TransportProtocol,
    WantedService,
)
from lvs_agent.decide.ownership import OwnedIpvs, judge_ipvs
from lvs_agent.kernel.fake_ipvs import FakeIpvsTable

Wanted = dict[AnyServiceKey, WantedService]
ORDER = [AddService, EditService, AddDestination, EditDestination, DeleteDestination, DeleteService]

services = st.builds(
    ServiceKey,
    protocol=st.sampled_from(TransportProtocol),
    address=st.sampled_from([ip_address("10.0.0.1"), ip_address("10.0.0.2")]),
    port=st.sampled_from([80, 443]),
)
service_settings = st.builds(
    ServiceSettings,
    scheduler=st.sampled_from(["rr", "wlc"]),
    persistence=st.none() | st.just(Persistence(timeout_seconds=60, prefix_length=32)),
)
destinations = st.builds(
    DestinationKey, address=st.integers(1, 4).map(lambda n: ip_address(f"10.0.1.{n}")), port=st.just(80)
)
destination_settings = st.builds(
    DestinationSettings,
    weight=st.integers(0, 2),
    method=st.sampled_from([ForwardingMethod.MASQUERADE, ForwardingMethod.DIRECT_ROUTE]),
)
wanted_tables: st.SearchStrategy[Wanted] = st.dictionaries(
    services,
    st.builds(
        WantedService,
        settings=service_settings,
        destinations=st.dictionaries(destinations, destination_settings, max_size=4),
    ),
    max_size=4,
)


def as_kernel(wanted: Wanted) -> dict[AnyServiceKey, ServiceState]:
    return {
        key: ServiceState(
            settings=wish.settings,
            destinations={d: DestinationState(settings=s, active_connections=7) for d, s in wish.destinations.items()},
        )
        for key, wish in wanted.items()
    }


def as_ledger(wanted: Wanted) -> OwnedIpvs:
    return {key: frozenset(wish.destinations) for key, wish in wanted.items()}


def without_counters(table: FakeIpvsTable) -> Wanted:
    return {
        key: WantedService(settings=state.settings, destinations={d: s.settings for d, s in state.destinations.items()})
        for key, state in table.services.items()
    }


def one_round(table: FakeIpvsTable, wanted: Wanted, ledger: OwnedIpvs) -> tuple[IpvsChange, ...]:
    snapshot = table.read()
    changes = diff_ipvs(snapshot, wanted, judge_ipvs(snapshot, wanted, ledger))
    assert table.apply(changes).failures == ()
    return changes


@given(before=wanted_tables, after=wanted_tables)
def test_our_own_table_becomes_the_wanted_one_in_order_and_then_rests(before: Wanted, after: Wanted) -> None:
    table = FakeIpvsTable(services=as_kernel(before))
    changes = one_round(table, after, as_ledger(before))
    assert without_counters(table) == after
    ranks = [ORDER.index(type(change)) // 2 for change in changes[: len(changes)]]
    services_first = [rank for rank in ranks if rank == 0]
    assert ranks[: len(services_first)] == services_first
    deletions = [isinstance(change, DeleteDestination | DeleteService) for change in changes]
    assert deletions == sorted(deletions)
    writes = table.writes
    assert one_round(table, after, as_ledger(after)) == ()
    assert table.writes == writes


@given(before=wanted_tables, after=wanted_tables)
def test_what_stays_keeps_its_connections(before: Wanted, after: Wanted) -> None:
    table = FakeIpvsTable(services=as_kernel(before))
    one_round(table, after, as_ledger(before))
    for key in before.keys() & after.keys():
        for destination in before[key].destinations.keys() & after[key].destinations.keys():
            assert table.services[key].destinations[destination].active_connections == 7


@given(foreign=wanted_tables, wanted=wanted_tables)
def test_a_table_of_strangers_is_never_changed(foreign: Wanted, wanted: Wanted) -> None:
    """With no ledger nothing that was there goes, and nothing changes but weights of adopted destinations."""
    table = FakeIpvsTable(services=as_kernel(foreign))
    snapshot = table.read()
    verdict = judge_ipvs(snapshot, wanted, {})
    one_round(table, wanted, {})
    for key, wish in foreign.items():
        state = table.services[key]
        assert state.settings == wish.settings
        for destination, settings in wish.destinations.items():
            present = state.destinations[destination].settings
            if destination in verdict.owned.get(key, frozenset()):
                assert replace(present, weight=0) == replace(settings, weight=0)
            else:
                assert present == settings


@given(foreign=wanted_tables, ours=wanted_tables)
def test_entries_are_owned_foreign_or_conflicting_and_nothing_else(foreign: Wanted, ours: Wanted) -> None:
    snapshot = KernelIpvs(services=as_kernel({**foreign, **ours}))
    verdict = judge_ipvs(snapshot, {}, as_ledger(ours))
    assert verdict.owned == as_ledger(ours)
    assert verdict.foreign == {k: v for k, v in as_ledger(foreign).items() if k not in ours}
    assert verdict.conflicts == ()


WEB = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address("10.0.0.1"), port=80)
RR, WLC = ServiceSettings(scheduler="rr"), ServiceSettings(scheduler="wlc")
ONE, TWO = (DestinationKey(address=ip_address(f"10.0.1.{n}"), port=80) for n in (1, 2))
LIGHT = DestinationSettings(weight=1, method=ForwardingMethod.MASQUERADE)
HEAVY = replace(LIGHT, weight=9)
DIRECT = replace(LIGHT, method=ForwardingMethod.DIRECT_ROUTE)


def web(settings: ServiceSettings, **found: DestinationSettings) -> Wanted:
    keys = {"one": ONE, "two": TWO}
    return {WEB: WantedService(settings=settings, destinations={keys[k]: v for k, v in found.items()})}


@pytest.mark.parametrize(
    ("kernel", "wanted", "ledger", "changes"),
    [
        pytest.param(web(RR), web(WLC), web(RR), [EditService(service=WEB, settings=WLC)], id="edit in place"),
        pytest.param(
            web(RR, one=LIGHT),
            web(RR, one=DIRECT),
            web(RR, one=LIGHT),
            [EditDestination(service=WEB, destination=ONE, settings=DIRECT)],
            id="method edited in place",
        ),
        pytest.param(web(RR, one=LIGHT), web(RR, one=LIGHT), {}, [], id="adopted as it is"),
        pytest.param(
            web(RR, one=HEAVY),
            web(RR, one=LIGHT),
            {},
            [EditDestination(service=WEB, destination=ONE, settings=LIGHT)],
            id="adopted, its weight follows",
        ),
        pytest.param(web(WLC, one=LIGHT), web(RR, one=LIGHT), {}, [], id="foreign service in the way"),
        pytest.param(web(RR, one=DIRECT), web(RR, one=LIGHT), web(RR), [], id="foreign destination in the way"),
        pytest.param(web(RR, two=LIGHT), web(RR), web(RR), [], id="foreign destination in our service stays"),
        pytest.param(
            web(RR, one=LIGHT, two=LIGHT),
            {},
            web(RR, one=LIGHT),
            [DeleteDestination(service=WEB, destination=ONE)],
            id="a service with a foreign destination is not deleted",
        ),
        pytest.param(web(RR, one=LIGHT), {}, web(RR, one=LIGHT), [DeleteService(service=WEB)], id="deleted whole"),
        pytest.param(web(RR, one=LIGHT), {}, {}, [], id="foreign stays"),
    ],
)
def test_cases(kernel: Wanted, wanted: Wanted, ledger: Wanted, changes: list[IpvsChange]) -> None:
    table = FakeIpvsTable(services=as_kernel(kernel))
    assert list(one_round(table, wanted, as_ledger(ledger))) == changes


def test_conflicts_name_both_sides_and_end_with_adopt() -> None:
    snapshot = KernelIpvs(services=as_kernel(web(WLC, one=DIRECT)))
    wanted = web(RR, one=LIGHT)
    verdict = judge_ipvs(snapshot, wanted, {})
    assert [(c.service, c.destination, c.found, c.wanted) for c in verdict.conflicts] == [(WEB, None, WLC, RR)]
    assert verdict.blocked_services == {WEB}
    assert verdict.owned == {}
    inside = judge_ipvs(snapshot, wanted, {WEB: frozenset()})
    assert inside.blocked_destinations == {(WEB, ONE)}
    assert inside.owned == {WEB: frozenset()}
    adopting = judge_ipvs(snapshot, wanted, {}, adopt=True)
    assert adopting.conflicts == ()
    assert adopting.owned == adopting.adopted == {WEB: frozenset({ONE})}
    assert [type(c) for c in diff_ipvs(snapshot, wanted, adopting)] == [EditService, EditDestination]


def test_a_cleared_table_is_made_anew_from_the_plan() -> None:
    wanted = web(RR, one=LIGHT, two=HEAVY)
    table = FakeIpvsTable(services=as_kernel(wanted))
    table.clear()
    assert [type(c) for c in one_round(table, wanted, as_ledger(wanted))] == [
        AddService,
        AddDestination,
        AddDestination,
    ]
    assert without_counters(table) == wanted
