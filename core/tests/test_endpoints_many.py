"""More endpoints than one slice carries: their places, how many there may be, and a roll-out of all of them."""

from collections import Counter

import pytest
from core_conditions import condition
from endpoint_objects import HTTP, TERMINATING, brief, endpoint_slice, pods_cluster, tell

from lvs_api.conditions import ConditionType
from lvs_core.cluster_view import Slice


@pytest.mark.parametrize(("number", "reason"), [(1600, "Accepted"), (1601, "Invalid")])
def test_more_than_slices_carry_are_refused(number: int, reason: str) -> None:
    cluster = pods_cluster()
    addresses = {f"10.1.{i // 250}.{1 + i % 250}": None for i in range(number)}
    tell(cluster, endpoint_slice(addresses, HTTP))
    cluster.round()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert said.reason == reason
    assert (reason == "Accepted") == ("spec.endpoints: finds 1601" not in said.message)


def test_a_roll_out_of_many_pods_is_followed_as_there_is_room() -> None:
    """Those that terminate are many more than the service may have, and leave room as they go."""
    old, new = [[f"10.{net}.{i // 250}.{i % 250 + 1}" for i in range(1000)] for net in (1, 2)]
    cluster = pods_cluster()
    tell(cluster, endpoint_slice(dict.fromkeys(old), HTTP))
    cluster.settle()
    assert len(brief(cluster)) == 1000
    cluster.silent.add("d1")  # so that nothing is reported drained
    tell(
        cluster,
        endpoint_slice(dict.fromkeys(old, TERMINATING), HTTP),
        endpoint_slice(dict.fromkeys(new), HTTP, name="pods-2"),
    )
    cluster.round()
    assert condition(cluster, ConditionType.ACCEPTED).reason == "Accepted"
    assert Counter(text.split()[1] for text in brief(cluster).values()) == {"leaves": 1000, "1": 600}
    cluster.silent.clear()
    cluster.settle()
    assert set(brief(cluster)) == set(new)


def test_members_stay_in_their_slices_while_pods_are_replaced() -> None:
    cluster = pods_cluster()
    tell(cluster, endpoint_slice({f"10.1.0.{i}": None for i in range(1, 151)}, HTTP))
    cluster.settle()

    def places() -> dict[str, int]:
        slices: list[Slice] = list(cluster.slices.values())
        return {member.address: one.content.index for one in slices for member in one.content.members}

    before = places()
    assert set(before.values()) == {0, 1}
    tell(cluster, endpoint_slice({f"10.1.0.{i}": None for i in range(50, 201)}, HTTP))
    cluster.settle()
    assert {key: value for key, value in places().items() if key in before}.items() <= before.items()
