"""Ids and priorities of virtual routers: they follow from the objects, and stay."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvs_api import testing
from lvs_api.conditions import Reason
from lvs_api.director_group import LvsDirectorGroupStatus, VirtualRouterStatus
from lvs_core.cluster_view import DirectorGroup
from lvs_core.view_objects import group_from_raw
from lvs_core.virtual_routers import choose_ids, order_directors, router_orders, speaks_vrrp, vrrp_of
from lvs_core.vrrp import router_index


def group(name: str = "a", *told: int, created: str = testing.CREATED, **vrrp: object) -> DirectorGroup:
    """A group that speaks VRRP, and whose status tells of these ids."""
    raw = testing.director_group(name, failover="VRRP", vrrp=vrrp)
    raw["metadata"]["creationTimestamp"] = created
    status = LvsDirectorGroupStatus(virtual_routers=[VirtualRouterStatus(id=one) for one in told] or None)
    return replace(group_from_raw(raw), status=status)


def ids(*groups: DirectorGroup) -> dict[str, tuple[int, ...]]:
    return {name: found.ids for name, found in choose_ids(groups).items()}


FIRST = ids(group())["a"][0]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (group(), (FIRST,)),
        (group(spread=3), (FIRST, FIRST + 1, FIRST + 2)),
        (group(reservedVirtualRouterIds=[FIRST, FIRST + 1]), (FIRST + 2,)),
        (group("a", 7), (7,)),
        (group("a", 7, reservedVirtualRouterIds=[7]), (FIRST,)),
        (group("a", 7, spread=2), (7, FIRST)),
        (group("a", 7, 9, spread=1), (7,)),
        (group("a", 7, virtualRouterIds=[55]), (55,)),
        (group(spread=2, virtualRouterIds=[56, 55]), (56, 55)),
    ],
)
def test_the_ids_of_one_group(asked: DirectorGroup, found: tuple[int, ...]) -> None:
    assert ids(asked) == {"a": found}


OLD, NEW = "2025-01-01T00:00:01Z", "2025-01-01T00:00:02Z"


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (group("a", 7), group("b", 7), {"a": (7,)}),
        (
            group("a", created=NEW),
            group("b", virtualRouterIds=[FIRST], created=OLD),
            {"a": (FIRST + 1,), "b": (FIRST,)},
        ),
        (group("a", FIRST), group("b", virtualRouterIds=[FIRST], created=OLD), {"a": (FIRST,), "b": ()}),
        (
            group("a", virtualRouterIds=[55], created=NEW),
            group("b", virtualRouterIds=[55], created=OLD),
            {"a": (), "b": (55,)},
        ),
        (
            group("a", 55, virtualRouterIds=[55], created=NEW),
            group("b", virtualRouterIds=[55], created=OLD),
            {"a": (55,)},
        ),
    ],
    ids=[
        "of equals the older",
        "a named one before a chosen one",
        "who has it keeps it",
        "named twice",
        "named and had",
    ],
)
def test_no_two_groups_have_one_id(one: DirectorGroup, other: DirectorGroup, found: dict[str, tuple[int, ...]]) -> None:
    assert ids(one, other) == ids(other, one)
    chosen = ids(one, other)
    assert {name: chosen[name] for name in found} == found
    assert not set(chosen["a"]) & set(chosen["b"])


def test_who_cannot_have_its_ids_is_told_why() -> None:
    both = choose_ids([group("a", 55, virtualRouterIds=[55]), group("b", virtualRouterIds=[55])])
    assert (both["a"].reason, both["b"].reason) == (None, Reason.CONFLICT)
    assert both["b"].message.startswith("spec.vrrp.virtualRouterIds: 55 belongs to LvsDirectorGroup a")
    full = choose_ids([group(spread=2, reservedVirtualRouterIds=list(range(2, 256)))])["a"]
    assert (full.ids, full.reason) == ((), Reason.NO_VIRTUAL_ROUTER_ID)
    assert "2 virtual routers need as many ids, and 1 are free" in full.message


def test_a_group_that_can_not_be_read_speaks_as_it_did_and_keeps_its_ids() -> None:
    broken = replace(group("a", 7), spec=None, spec_error="wrong")
    assert speaks_vrrp(broken)
    assert ids(broken, group("b", 7))["a"] == (7,)
    assert not speaks_vrrp(replace(broken, status=None))
    assert not speaks_vrrp(group_from_raw(testing.director_group()))
    assert not speaks_vrrp(None)


def order(*nodes: str, **vrrp: object) -> dict[str, int]:
    return {one.node: one.priority for one in order_directors("a", vrrp_of(group(**vrrp)), nodes)}


def listed(**numbers: int) -> list[dict[str, object]]:
    return [{"node": node, "priority": number} for node, number in numbers.items()]


def test_listed_directors_have_their_numbers_and_the_others_come_below() -> None:
    found = order("d1", "d2", "d3", "d4", priorities=listed(d1=150, d3=100, gone=40))
    assert (found["d1"], found["d3"]) == (150, 100)
    assert {found["d2"], found["d4"]} < set(range(1, 40))
    assert list(found) == sorted(found, key=lambda name: -found[name])


@pytest.mark.parametrize("number", [2, 64])
def test_directors_that_are_not_listed_have_numbers_of_their_own_that_stay(number: int) -> None:
    nodes = [f"node-{position}" for position in range(number)]
    found = order(*nodes)
    assert len(set(found.values())) == number
    assert set(found.values()) <= set(range(101, 201))
    assert order(*reversed(nodes)) == found
    assert order(*nodes[:1]) == {nodes[0]: order(nodes[0])[nodes[0]]}


def test_where_nothing_is_free_below_the_listed_ones_the_next_above_is_taken() -> None:
    assert sorted(order("d1", "d2", "d3", "d4", priorities=listed(d1=2)).values()) == [1, 2, 3, 4]
    assert sorted(order("d1", "d2", priorities=listed(d1=1)).values()) == [1, 2]


@given(
    numbers=st.lists(st.integers(1, 254), unique=True, max_size=32),
    others=st.integers(0, 32),
)
def test_no_two_directors_have_one_priority(numbers: list[int], others: int) -> None:
    known = {f"listed-{number}": number for number in numbers}
    found = order(*known, *(f"other-{one}" for one in range(others)), priorities=listed(**known))
    assert found.items() >= known.items()
    assert len(set(found.values())) == len(found) == len(numbers) + others
    assert all(1 <= number <= 254 for number in found.values())


def test_each_director_comes_first_in_a_virtual_router_of_its_own() -> None:
    orders = router_orders(group(priorities=listed(d1=150, d2=100, d3=50)), ["d1", "d2", "d3"], 4)
    assert [[one.node for one in found] for found in orders] == [
        ["d1", "d2", "d3"],
        ["d2", "d3", "d1"],
        ["d3", "d1", "d2"],
        ["d1", "d2", "d3"],
    ]
    assert [[one.priority for one in found] for found in orders] == [[150, 100, 50]] * 4
    assert router_orders(group(), [], 2) == [(), ()]


def test_addresses_are_shared_out_for_good() -> None:
    addresses = [f"192.168.4.{host}" for host in range(1, 201)]
    shares = [sum(router_index(address, 4) == index for address in addresses) for index in range(4)]
    assert sum(shares) == 200
    assert min(shares) > 25
    assert [router_index(address, 1) for address in addresses[:3]] == [0, 0, 0]
    assert [router_index(address, 2) for address in ("192.168.65.127", "192.168.65.128", "2001:db8:4::15")] == [1, 1, 1]
