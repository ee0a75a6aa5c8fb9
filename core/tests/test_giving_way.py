"""Planned hand-overs: who is told to give way, when another is named, and what a person hears of it."""

from dataclasses import replace
from typing import Any

import pytest
from core_objects import DIRECTOR_LABELS, group, service, small_cluster
from simulated_cluster import NOW, SimulatedCluster
from test_vrrp_groups import ONE, OTHER_VIP, SECOND, TWO, holding, ready, says, status, vrrp_cluster

from lvs_api import testing
from lvs_api.api_group import ANNOTATION_HAND_OVER
from lvs_api.director_group import HandOver, HandOverState
from lvs_api.lvs_node import ServiceException
from lvs_core.hand_over import read_request
from lvs_core.plan import Holding
from lvs_core.view_objects import group_from_raw, node_from_raw

LATER = "2025-06-01T00:00:36Z"
"""When the time for a hand-over with an advert each second is over."""
THREE: dict[str, Any] = {
    **ONE,
    "priorities": [{"node": f"d{place}", "priority": 200 - 50 * place} for place in (1, 2, 3)],
}


def ask(cluster: SimulatedCluster, said: str) -> HandOver:
    """A person asks; what the status says of it at once."""
    cluster.groups["default"] = replace(cluster.groups["default"], hand_over_request=said)
    return answer(cluster)


def answer(cluster: SimulatedCluster) -> HandOver:
    found = status(cluster).hand_over
    assert found is not None
    return found


def told(cluster: SimulatedCluster) -> set[str]:
    return {name for name, node in cluster.lvs_nodes.items() if node.spec.gives_way}


def cordon(cluster: SimulatedCluster, *names: str) -> None:
    for name in names:
        cluster.nodes[name] = replace(cluster.nodes[name], cordoned=True)


def plain_cluster(directors: int = 3) -> SimulatedCluster:
    """Without VRRP; d1 carries the addresses."""
    cluster = small_cluster(directors=directors)
    cluster.settle()
    assert status(cluster).active == "d1"
    return cluster


def speaking(vrrp: dict[str, Any] = THREE, directors: int = 3) -> SimulatedCluster:
    """With VRRP; d1 is Master."""
    cluster = vrrp_cluster(vrrp, directors=directors)
    says(cluster, "d1", "Master")
    for place in range(2, directors + 1):
        says(cluster, f"d{place}", "Backup")
    cluster.settle()
    return cluster


@pytest.mark.parametrize(("said", "heir"), [("t1", "d2"), ("t1/d3", "d3")])
def test_without_vrrp_another_is_active_only_after_the_first_has_let_go(said: str, heir: str) -> None:
    cluster = plain_cluster()
    found = ask(cluster, said)
    assert (found.state, found.giver, found.time) == (HandOverState.UNDER_WAY, "d1", NOW)
    assert (told(cluster), status(cluster).active) == ({"d1"}, "d1")
    assert [holding(cluster, name) for name in ("d1", heir)] == [Holding.RELEASE, Holding.RELEASE]
    cluster.report("d1")
    assert status(cluster).active == "d1", "it has not acted on it"
    cluster.act("d1")
    assert status(cluster).active == "d1", "it has not said so"
    cluster.report("d1")
    assert status(cluster).active == heir
    assert answer(cluster).message == f"{heir} carries the addresses instead of d1"
    assert answer(cluster).state is HandOverState.DONE
    assert (told(cluster), holding(cluster, heir)) == ({"d1"}, Holding.HOLD), "its copy of the group may be an old one"
    cluster.settle()
    assert ask(cluster, "t2/d1").state is HandOverState.UNDER_WAY
    cluster.settle()
    assert (status(cluster).active, told(cluster)) == ("d1", {heir})
    assert holding(cluster, "d1") is Holding.HOLD


def test_a_request_is_carried_out_once() -> None:
    cluster = plain_cluster(2)
    ask(cluster, "t1")
    cluster.settle()
    assert status(cluster).active == "d2"
    cluster.now = LATER
    cluster.settle()
    assert (status(cluster).active, answer(cluster).time) == ("d2", NOW)
    cluster.groups["default"] = replace(cluster.groups["default"], hand_over_request=None)
    assert answer(cluster).request == "t1"


def test_one_that_says_nothing_keeps_what_it_has_and_the_person_hears_of_it() -> None:
    cluster = plain_cluster(2)
    ask(cluster, "t1")
    assert cluster.round().again_seconds == 30
    cluster.now = LATER
    found = answer(cluster)
    assert (found.state, found.message) == (
        HandOverState.FAILED,
        "no other director took over within 30 s: d1 carries the addresses",
    )
    assert (told(cluster), status(cluster).active) == (set(), "d1")
    cluster.settle()
    assert holding(cluster, "d1") is Holding.HOLD


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("t1/d4", "d4 is no director of the group"),
        ("t1/d2", "d2 does not report"),
        ("t1/d3", "d3 stands aside (Cordoned)"),
        ("t1", "no other director is ready: d2 does not report; d3 stands aside (Cordoned)"),
    ],
)
@pytest.mark.parametrize("vrrp", [False, True])
def test_nothing_is_moved_where_nobody_is_ready(said: str, message: str, vrrp: bool) -> None:
    cluster = speaking() if vrrp else plain_cluster()
    cluster.late = {"d2"}
    cordon(cluster, "d3")
    found = ask(cluster, said)
    assert (found.state, found.message) == (HandOverState.REFUSED, message)
    assert (told(cluster), status(cluster).active) == (set(), "d1")


def test_a_fault_is_told_in_the_directors_own_words() -> None:
    cluster = speaking(ONE, 2)
    says(cluster, "d2", "Fault")
    assert ask(cluster, "t1").message == "no other director is ready: d2 is in Fault in virtual router 55: link down"
    cluster.machines["d2"].routers = None
    cluster.report("d2")
    assert ask(cluster, "t2/d2").message == "d2 takes no part in virtual router 55 yet"


def test_what_can_not_be_now_is_refused_with_the_reason() -> None:
    cluster = speaking({**ONE, "preemption": {}}, 2)
    assert ask(cluster, "t1").message.startswith("with spec.vrrp.preemption")
    assert ask(cluster, "t2/d1").state is HandOverState.DONE
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=False)
    assert ask(cluster, "t3/d2").message.startswith("d1 does not report, and has to let go")
    cluster = vrrp_cluster(ONE)
    says(cluster, "d1", "Backup")
    says(cluster, "d2", "Backup")
    assert ask(cluster, "t1").message == "it is not known who carries the addresses"
    cluster = plain_cluster(2)
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=False)
    assert ask(cluster, "t1").message.startswith("d1 does not report, and has to let go")
    cluster = plain_cluster(2)
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    assert ask(cluster, "t1").message.startswith("failover is about to change")


def test_of_several_that_are_active_one_is_to_be_named() -> None:
    cluster = vrrp_cluster(TWO)
    cluster.put(service(cluster, "other", addresses=[OTHER_VIP], realServerPoolRef={"name": "web"}))
    for number, states in ((55, ("Master", "Backup")), (56, ("Backup", "Master"))):
        for name, state in zip(("d1", "d2"), states, strict=True):
            says(cluster, name, state, number=number)
    cluster.settle()
    found = ask(cluster, "t1")
    assert (found.state, found.message) == (
        HandOverState.REFUSED,
        "d1 and d2 carry the addresses: name one director that is to carry all of them",
    )
    found = ask(cluster, "t2/d2")
    assert (found.message, found.giver) == ("d1 lets go of the addresses for d2", "d1")
    assert told(cluster) == {"d1"}
    says(cluster, "d1", "Backup")
    says(cluster, "d2", "Master", number=55)
    assert (answer(cluster).message, told(cluster)) == ("d2 carries the addresses instead of d1", set())


def test_with_vrrp_the_master_gives_way_until_another_is_master() -> None:
    cluster = speaking()
    assert ask(cluster, "t1").state is HandOverState.UNDER_WAY
    assert told(cluster) == {"d1"}
    assert [holding(cluster, name) for name in ("d1", "d2", "d3")] == [Holding.VRRP] * 3
    says(cluster, "d1", "Fault")
    assert (told(cluster), answer(cluster).state) == ({"d1"}, HandOverState.UNDER_WAY)
    says(cluster, "d3", "Master", since=SECOND)
    assert answer(cluster).message == "d3 carries the addresses instead of d1"
    assert (answer(cluster).state, told(cluster)) == (HandOverState.DONE, set())


def test_with_vrrp_everybody_gives_way_to_the_one_that_is_named() -> None:
    cluster = speaking()
    ask(cluster, "t1/d3")
    assert told(cluster) == {"d1", "d2"}
    says(cluster, "d1", "Backup")
    says(cluster, "d2", "Master", since=SECOND)
    assert (told(cluster), answer(cluster).state) == ({"d1", "d2"}, HandOverState.UNDER_WAY)
    says(cluster, "d2", "Backup")
    says(cluster, "d3", "Master", since=SECOND)
    assert (answer(cluster).state, told(cluster)) == (HandOverState.DONE, set())


def test_with_vrrp_nobody_gives_way_for_longer_than_the_time() -> None:
    cluster = speaking()
    ask(cluster, "t1/d3")
    assert cluster.round().again_seconds == 36
    cluster.now = LATER
    assert answer(cluster).message == "d3 did not take over within 36 s: d1 carries the addresses"
    assert (answer(cluster).state, told(cluster)) == (HandOverState.FAILED, set())


def test_with_vrrp_who_was_told_is_not_told_anew_because_nobody_took_over() -> None:
    """With long intervals nobody is called Master for longer than the last one is remembered."""
    cluster = speaking({**THREE, "advertIntervalMilliseconds": 10000})
    cordon(cluster, "d1")
    cluster.round()
    assert told(cluster) == {"d1"}
    says(cluster, "d1", "Fault")
    cluster.round()
    cluster.now = LATER
    cluster.round()
    assert (status(cluster).active, told(cluster)) == (None, {"d1"})
    says(cluster, "d1", "Master", since=SECOND)
    cluster.round()
    assert told(cluster) == {"d1"}
    says(cluster, "d1", "Backup")
    says(cluster, "d2", "Master", since=SECOND)
    cluster.round()
    assert told(cluster) == set()


@pytest.mark.parametrize("by", ["cordon", "maintenance"])
def test_one_that_stands_aside_comes_last_and_gives_way_once_another_is_ready(by: str) -> None:
    cluster = speaking()
    says(cluster, "d2", "Fault")
    says(cluster, "d3", "Fault")
    if by == "cordon":
        cordon(cluster, "d1")
    else:
        cluster.put(group(cluster, failover="VRRP", vrrp=THREE, maintenance=["d1", "stranger"]))
    found = status(cluster)
    (router,) = found.virtual_routers or []
    assert [(one.node, one.priority) for one in router.priorities or ()] == [("d2", 100), ("d3", 50), ("d1", 1)]
    reason = "Cordoned" if by == "cordon" else "Maintenance"
    assert [(one.node, one.stands_aside) for one in found.directors or ()] == [
        ("d1", reason),
        ("d2", None),
        ("d3", None),
    ]
    assert told(cluster) == set()
    assert f"d1 ({reason}) carries the addresses though it is to stand aside: no other" in ready(cluster).message
    says(cluster, "d3", "Backup")
    cluster.round()
    assert told(cluster) == {"d1"}
    assert "stand aside" not in ready(cluster).message
    says(cluster, "d1", "Backup")
    says(cluster, "d3", "Master", since=SECOND)
    cluster.round()
    assert (told(cluster), status(cluster).active) == (set(), "d3")


def test_without_vrrp_one_that_is_cordoned_gives_the_addresses_to_another_and_does_not_get_them_back() -> None:
    cluster = plain_cluster()
    cordon(cluster, "d1", "d2")
    cluster.settle()
    assert (status(cluster).active, told(cluster)) == ("d3", {"d1"})
    for name in ("d1", "d2"):
        cluster.nodes[name] = replace(cluster.nodes[name], cordoned=False)
    cluster.settle()
    assert status(cluster).active == "d3"
    cordon(cluster, "d1", "d2", "d3")
    cluster.settle()
    assert status(cluster).active == "d3"
    assert "no other director is ready: d1 stands aside (Cordoned); d2 stands" in ready(cluster).message


def test_without_vrrp_nothing_moves_while_an_address_has_to_stay() -> None:
    """The others would be let go for nothing: who still holds one is the active director."""
    cluster = plain_cluster(2)
    cluster.put(service(cluster, paused=True))
    cluster.settle()
    stays = "the addresses of LvsVirtualService default/web stay where they are while it is paused"
    assert (ask(cluster, "t1").message, told(cluster)) == (stays, set())
    cordon(cluster, "d1")
    cluster.settle()
    assert (status(cluster).active, told(cluster)) == ("d1", set())
    assert ready(cluster).message.endswith(f"d1 (Cordoned) carries the addresses though it is to stand aside: {stays}")
    cluster.put(service(cluster))
    cluster.settle()
    assert status(cluster).active == "d2"


def says_below_quorum(cluster: SimulatedCluster, director: str) -> None:
    one = cluster.lvs_nodes[director]
    assert one.status is not None
    said = ServiceException(namespace="default", name="web", reason="BelowQuorum", message="why", programmed=True)
    cluster.lvs_nodes[director] = replace(one, status=one.status.model_copy(update={"exceptions": [said]}))


@pytest.mark.parametrize(("below", "active"), [("WithdrawAddress", "d3"), ("KeepAddress", "d2")])
def test_without_vrrp_one_that_would_withdraw_the_address_is_not_ready(below: str, active: str) -> None:
    cluster = plain_cluster()
    cluster.put(service(cluster, quorum={"below": below}))
    cluster.settle()
    says_below_quorum(cluster, "d2")
    assert ask(cluster, "t1").state is HandOverState.UNDER_WAY
    cluster.act("d1")
    cluster.report("d1")
    assert status(cluster).active == active


def test_without_vrrp_nobody_lets_go_for_one_that_would_withdraw_the_address() -> None:
    cluster = plain_cluster(2)
    cluster.put(service(cluster, quorum={"below": "WithdrawAddress"}))
    cluster.settle()
    says_below_quorum(cluster, "d2")
    cordon(cluster, "d1")
    assert (status(cluster).active, told(cluster)) == ("d1", set())
    why = "d2 is below quorum of LvsVirtualService default/web, and would not carry its addresses"
    assert ready(cluster).message.endswith(f"no other director is ready: {why}")
    assert ask(cluster, "t1/d2").message == why


def test_the_first_active_director_is_one_that_does_not_stand_aside() -> None:
    cluster = small_cluster(directors=2)
    cordon(cluster, "d1")
    cluster.settle()
    assert status(cluster).active == "d2"


def test_all_of_them_aside_is_as_if_none_were() -> None:
    cluster = speaking()
    before = (status(cluster).virtual_routers or [])[0].priorities
    cordon(cluster, "d1", "d2", "d3")
    assert (status(cluster).virtual_routers or [])[0].priorities == before
    assert told(cluster) == set()


def test_a_group_that_can_not_be_read_moves_nothing() -> None:
    cluster = plain_cluster(2)
    ask(cluster, "t1")
    assert told(cluster) == {"d1"}
    cluster.groups["default"] = replace(cluster.groups["default"], spec=None, spec_error="wrong")
    cluster.settle()
    assert (status(cluster).active, told(cluster)) == ("d1", {"d1"})
    assert answer(cluster).state is HandOverState.UNDER_WAY


def test_one_that_was_told_before_failover_was_vrrp_stays_told_until_it_speaks_it() -> None:
    cluster = plain_cluster(2)
    ask(cluster, "t1")
    cluster.settle()
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    assert (status(cluster).vrrp_begins_with, told(cluster)) == ("d2", {"d1"})
    says(cluster, "d2", "Master")
    says(cluster, "d1", "Backup")
    cluster.round()
    assert told(cluster) == set()


def test_requests_and_cordons_are_read_from_the_objects() -> None:
    assert read_request(None) is read_request("") is None
    assert [read_request(said).target for said in ("t", "t/", "t/d2")] == [None, None, "d2"]  # type: ignore[union-attr]  # none of them is None
    raw = testing.director_group()
    raw["metadata"]["annotations"] = {ANNOTATION_HAND_OVER: "t1/d2"}
    assert group_from_raw(raw).hand_over_request == "t1/d2"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "d1", "labels": DIRECTOR_LABELS}}
    assert not node_from_raw(node).cordoned
    assert node_from_raw({**node, "spec": {"unschedulable": True}}).cordoned
