"""Groups whose directors settle by VRRP who carries the addresses: what their reports make of the status."""

from dataclasses import replace

import pytest
from core_conditions import brief, condition, except_
from core_objects import WEB, group, service, small_cluster
from simulated_cluster import NOW, SimulatedCluster

from lvs_api import testing
from lvs_api.conditions import Condition, ConditionType, find_condition
from lvs_api.director_group import LvsDirectorGroupStatus
from lvs_api.lvs_node import VirtualRouterReport, VirtualRouterState
from lvs_api.network_types import Family
from lvs_api.objects import to_raw
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import Holding

VRID = 55
ONE = {"virtualRouterIds": [VRID], "priorities": [{"node": "d1", "priority": 150}, {"node": "d2", "priority": 100}]}
TWO = {**ONE, "spread": 2, "virtualRouterIds": [55, 56]}
OTHER_VIP = "192.168.4.17"
"""Falls to the other of two virtual routers than the VIP."""
FIRST, SECOND = "2025-06-01T00:00:00Z", "2025-06-01T00:00:01Z"
LATER = {seconds: f"2025-06-01T00:00:{seconds:02}Z" for seconds in (9, 10, 29, 30)}


def says(cluster: SimulatedCluster, director: str, *states: str, since: str = FIRST, number: int = VRID) -> None:
    """A director reports of a virtual router, of one family or of both."""
    one = [
        VirtualRouterReport(id=number, family=family, state=VirtualRouterState(state), since=since, message="link down")
        for family, state in zip(Family, states, strict=False)
    ]
    others = [report for report in cluster.machines[director].routers or () if report.id != number]
    cluster.machines[director].routers = [*others, *one]
    cluster.act(director)
    cluster.report(director)


def lets_go(cluster: SimulatedCluster, director: str) -> None:
    """A director reports that it carries nothing any more."""
    cluster.machines[director].holds = frozenset()
    cluster.report(director)


def vrrp_cluster(vrrp: dict[str, object] = ONE, *, directors: int = 2, **changes: object) -> SimulatedCluster:
    cluster = small_cluster(directors=directors, **changes)
    cluster.put(group(cluster, failover="VRRP", vrrp=vrrp))
    cluster.settle()
    return cluster


def status(cluster: SimulatedCluster) -> LvsDirectorGroupStatus:
    cluster.round()
    found = cluster.groups["default"].status
    assert found is not None
    return found


def ready(cluster: SimulatedCluster) -> Condition:
    found = find_condition(status(cluster).conditions, ConditionType.READY)
    assert found is not None
    return found


def holding(cluster: SimulatedCluster, director: str) -> Holding:
    view = AgentView(
        node=director,
        lvs_node=cluster.lvs_nodes[director],
        groups=cluster.groups,
        slices=tuple(cluster.slices.values()),
    )
    (only,) = compile_plan(view).directing
    assert (only.vrrp is not None) == (only.holding is Holding.VRRP)
    return only.holding


def test_directors_are_told_ids_and_priorities_before_anybody_is_master() -> None:
    cluster = vrrp_cluster()
    found = status(cluster)
    assert [to_raw(one) for one in found.virtual_routers or ()] == [
        {
            "id": VRID,
            "priorities": [{"node": "d1", "priority": 150}, {"node": "d2", "priority": 100}],
            "message": "no director is Master: d1 does not report; d2 does not report",
        }
    ]
    assert found.active is None
    assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.VRRP, Holding.VRRP]
    assert (ready(cluster).status, ready(cluster).reason) == ("Unknown", "Pending")
    assert brief(cluster)["Ready"] == "Unknown Pending"


@pytest.mark.parametrize(
    ("states", "active", "why"),
    [
        ({"d1": ["Master"], "d2": ["Backup"]}, "d1", "it has the highest priority"),
        ({"d1": ["Backup"], "d2": ["Master"]}, "d2", "before it by priority: d1 is Backup"),
        ({"d1": ["Fault"], "d2": ["Master"]}, "d2", "before it by priority: d1 is in Fault: link down"),
        ({"d2": ["Master"]}, "d2", "before it by priority: d1 does not report"),
        ({"d1": ["Master", "Master"], "d2": ["Backup", "Backup"]}, "d1", "it has the highest priority"),
        (
            {"d1": ["Master", "Backup"], "d2": ["Backup", "Master"]},
            None,
            "no director is Master: d1 is Master; d2 is Backup",
        ),
    ],
)
def test_the_status_says_who_is_master_and_why(states: dict[str, list[str]], active: str | None, why: str) -> None:
    cluster = vrrp_cluster()
    for name, said in states.items():
        says(cluster, name, *said)
    found = status(cluster)
    (router,) = found.virtual_routers or ()
    assert (found.active, router.active, router.message) == (active, active, why)
    assert router.since == (FIRST if active is not None else None)


def test_a_master_beside_a_stranger_carries_the_address_all_the_same() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Backup")
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    for director, state, reason in (("d1", "Active", "AddressConflict"), ("d2", "Failed", "SchedulerUnavailable")):
        except_(cluster, director, reason=reason, programmed=False, ready=2)
        cluster.round()
        said = cluster.services[WEB].status
        assert said is not None
        assert {one.node: one.state for one in said.directors or ()}[director] == state
    assert condition(cluster, ConditionType.PROGRAMMED).message == "Director d1: why"
    assert brief(cluster)["Ready"] == "False AddressConflict"
    assert said.real_servers is not None
    assert said.real_servers.ready == 2
    # While an edit is under way nothing else is said.
    cluster.put(service(cluster, scheduler="rr"))
    cluster.round()
    cluster.round()
    assert brief(cluster)["Programmed"] == "False AddressConflict"


def test_a_service_is_ready_with_its_master_and_stays_so_when_another_takes_over() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Backup")
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    assert ready(cluster).message == f"Master is d1 of virtual router {VRID}"
    says(cluster, "d1", "Backup")
    assert (status(cluster).active, brief(cluster)["Ready"]) == ("d1", "True Ready"), "the other's report is under way"
    says(cluster, "d2", "Master", since=SECOND)
    assert (status(cluster).active, brief(cluster)["Ready"]) == ("d2", "True Ready")
    found = cluster.services[WEB].status
    assert [(one.node, one.state) for one in found.directors] == [("d1", "Standby"), ("d2", "Active")]


def test_of_two_masters_the_later_counts_and_one_that_is_late_does_not() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Master", since=SECOND)
    assert status(cluster).active == "d2"
    cluster.late = {"d2"}
    assert status(cluster).active == "d1"
    cluster.late = {"d1", "d2"}
    assert status(cluster).active == "d2"
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], ready=False)
    assert status(cluster).active == "d1"


def test_two_masters_are_a_trouble_once_it_lasts() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Master", since=SECOND)
    assert cluster.round().again_seconds == 30
    assert ready(cluster).status == "True"
    cluster.now = LATER[29]
    assert cluster.round().again_seconds == 1
    assert ready(cluster).status == "True"
    cluster.now = LATER[30]
    assert cluster.round().again_seconds is None
    found = ready(cluster)
    assert (found.status, found.reason) == ("False", "SplitBrain")
    assert found.message == "d1 and d2 are Master of virtual router 55: they do not hear one another"
    says(cluster, "d1", "Backup")
    assert ready(cluster).status == "True"


def test_the_last_word_of_a_machine_without_power_is_no_split() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Master", since=SECOND)
    cluster.round()
    cluster.late, cluster.now = {"d1"}, LATER[29]
    assert ready(cluster).status == "True"
    cluster.now = LATER[30]
    assert (ready(cluster).status, status(cluster).active) == ("True", "d2")


def hears(cluster: SimulatedCluster, director: str, *senders: str) -> None:
    """A director reports from whom it hears adverts of the virtual router."""
    machine = cluster.machines[director]
    machine.routers = [one.model_copy(update={"heard_from": list(senders)}) for one in machine.routers or ()]
    cluster.report(director)


def test_a_stranger_that_speaks_with_the_groups_id_is_named() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Backup")
    has_own(cluster, "d1", ["192.168.4.5"])
    has_own(cluster, "d2", ["192.168.4.6"])
    hears(cluster, "d2", "192.168.4.5")
    assert ready(cluster).reason == "Ready", "a director is no stranger"
    hears(cluster, "d2", "192.168.4.5", "192.168.4.66")
    found = ready(cluster)
    assert (found.status, found.reason) == ("False", "ForeignVrrp")
    assert "of virtual router 55 come from 192.168.4.66, which is no director" in found.message
    assert "(heard by d2)" in found.message
    hears(cluster, "d2", "192.168.4.5")
    assert ready(cluster).reason == "Ready"


def test_where_a_director_has_not_told_its_addresses_nobody_is_a_stranger() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Backup")
    has_own(cluster, "d2", ["192.168.4.6"])
    has_own(cluster, "d1", None)
    hears(cluster, "d2", "192.168.4.5")
    assert ready(cluster).reason == "Ready"


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ([f"10.0.0.{number}" for number in range(1, 32)], "ForeignVrrp"),
        ([f"10.0.0.{number}" for number in range(1, 33)], "Ready"),
    ],
)
def test_a_director_with_more_addresses_than_it_can_tell_is_no_stranger(own: list[str], reason: str) -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Backup")
    has_own(cluster, "d1", own)
    has_own(cluster, "d2", ["192.168.4.6"])
    hears(cluster, "d2", "192.168.4.66")
    assert ready(cluster).reason == reason


def test_a_host_address_that_a_director_s_node_has_is_no_stranger_s() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    says(cluster, "d2", "Backup")
    has_own(cluster, "d1", ["172.17.0.1"])
    has_own(cluster, "d2", ["172.17.0.1"])
    hears(cluster, "d2", "192.168.4.5")
    assert ready(cluster).reason == "Ready"


def test_nobody_being_master_is_a_trouble_once_it_lasts() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Master")
    cluster.settle()
    says(cluster, "d1", "Fault")
    says(cluster, "d2", "Backup")
    assert cluster.round().again_seconds == 10
    cluster.now = LATER[9]
    assert cluster.round().again_seconds == 1
    assert (ready(cluster).status, status(cluster).active) == ("True", "d1")
    cluster.now = LATER[10]
    found = ready(cluster)
    assert (found.status, found.reason, status(cluster).active) == ("False", "NoActiveDirector", None)
    assert found.message == "No director is Master of virtual router 55: d1 is in Fault: link down; d2 is Backup"
    cluster.round()
    assert brief(cluster)["Programmed"] == "Unknown Pending"
    cluster.memory = replace(cluster.memory, groups={}, started=False)
    assert ready(cluster).reason == "NoActiveDirector", "a restarted operator does not forget it"


def test_of_several_virtual_routers_each_has_its_master_and_services_follow_theirs() -> None:
    cluster = vrrp_cluster(TWO)
    for number, masters in ((55, ("Backup", "Master")), (56, ("Master", "Backup"))):
        for name, state in zip(("d1", "d2"), masters, strict=True):
            says(cluster, name, state, number=number)
    cluster.settle()
    found = status(cluster)
    assert [(one.id, one.active, (one.priorities or [])[0].node) for one in found.virtual_routers or ()] == [
        (55, "d2", "d1"),
        (56, "d1", "d2"),
    ]
    unused = next(one for one in found.virtual_routers or () if one.message == "no VIP falls to it")
    carrier = "d1" if unused.id == 55 else "d2"
    assert found.active == carrier, "the only one that has addresses"
    cluster.put(service(cluster, "other", addresses=[OTHER_VIP], realServerPoolRef={"name": "web"}))
    cluster.settle()
    assert status(cluster).active is None
    assert ready(cluster).message == "Master is d2 of virtual router 55, d1 of virtual router 56"
    for name, vip_of in (("web", carrier), ("other", "d2" if carrier == "d1" else "d1")):
        key = WEB._replace(name=name)
        assert brief(cluster, key)["Ready"] == "True Ready"
        said = cluster.services[key].status
        assert [one.node for one in said.directors if one.state == "Active"] == [vip_of]


def test_failover_becomes_vrrp_at_the_director_that_carries_the_addresses() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    assert status(cluster).active == "d1"
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.KEEP, Holding.KEEP], "not told yet"
    found = status(cluster)
    assert (found.active, found.vrrp_begins_with) == ("d1", "d1")
    assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.VRRP, Holding.RELEASE]
    assert ready(cluster).message == "VRRP begins with d1, which carries the addresses"
    says(cluster, "d1", "Backup")
    assert status(cluster).vrrp_begins_with == "d1"
    says(cluster, "d1", "Master")
    found = status(cluster)
    assert (found.active, found.vrrp_begins_with) == ("d1", None)
    assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.VRRP, Holding.VRRP]
    says(cluster, "d1", "Backup")
    assert status(cluster).vrrp_begins_with is None, "it began once and for all"


@pytest.mark.parametrize("why", ["fault", "another is Master", "deleted", "out of service", "no longer selected"])
def test_nobody_waits_for_one_that_cannot_begin(why: str) -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    assert status(cluster).vrrp_begins_with == "d1"
    if why == "fault":
        says(cluster, "d1", "Fault")
        lets_go(cluster, "d1")
    elif why == "another is Master":
        says(cluster, "d2", "Master")
    elif why == "deleted":
        del cluster.nodes["d1"]
    elif why == "out of service":
        cluster.nodes["d1"] = replace(cluster.nodes["d1"], out_of_service=True)
    else:
        cluster.nodes["d1"] = replace(cluster.nodes["d1"], labels={})
        cluster.settle()
    assert status(cluster).vrrp_begins_with is None
    assert holding(cluster, "d2") is Holding.VRRP


def test_others_wait_for_one_that_carries_the_addresses_while_its_daemon_does_not_run() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    says(cluster, "d1", "Fault")
    assert "default" in cluster.machines["d1"].holds
    assert status(cluster).vrrp_begins_with == "d1"
    assert holding(cluster, "d2") is Holding.RELEASE
    lets_go(cluster, "d1")
    assert status(cluster).vrrp_begins_with is None


def test_one_that_may_not_begin_yet_is_not_forgotten() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.put(
        group(cluster, "second", nodes={"selector": {"matchLabels": {"none": "such"}}}, failover="VRRP", vrrp=ONE)
    )
    cluster.round()
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    assert (ready(cluster).reason, status(cluster).virtual_routers) == ("Conflict", None)
    assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.KEEP, Holding.RELEASE]
    cluster.put(group(cluster, failover="VRRP", vrrp={**ONE, "virtualRouterIds": [56]}))
    assert status(cluster).vrrp_begins_with == "d1"
    assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.VRRP, Holding.RELEASE]


def test_a_group_without_addresses_begins_with_nobody() -> None:
    cluster = small_cluster(directors=2)
    cluster.delete_service(WEB)
    cluster.settle()
    assert status(cluster).active == "d1"
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    assert (status(cluster).vrrp_begins_with, ready(cluster).status) == (None, "True")


def test_a_gateway_that_is_a_directors_own_address_is_named() -> None:
    cluster = vrrp_cluster({**ONE, "gatewayAddresses": ["192.168.2.4", "192.168.2.5"]})
    says(cluster, "d1", "Master")
    assert ready(cluster).status == "True"
    found = cluster.lvs_nodes["d2"]
    assert found.status is not None
    own = found.status.model_copy(update={"own_addresses": ["192.168.4.6", "192.168.2.5"]})
    cluster.lvs_nodes["d2"] = replace(found, status=own)
    said = ready(cluster)
    assert (said.status, said.reason) == ("False", "NodeAddress")
    assert said.message.startswith("spec.vrrp.gatewayAddresses: 192.168.2.5 is d2's own")


def test_others_wait_for_one_that_is_out_of_reach() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=False)
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    assert status(cluster).vrrp_begins_with == "d1"
    found = ready(cluster)
    assert (found.status, found.reason) == ("False", "NotProgrammed")
    assert "It keeps the addresses until it is back" in found.message


def test_failover_becomes_none_where_the_addresses_are_once_nobody_else_speaks_vrrp() -> None:
    cluster = vrrp_cluster()
    says(cluster, "d1", "Backup")
    says(cluster, "d2", "Master")
    assert status(cluster).active == "d2"
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    cluster.machines["d2"].holds = frozenset()  # it is the VRRP daemon that does
    cluster.report("d2")
    cluster.put(group(cluster))
    for _ in range(2):
        assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.RELEASE, Holding.KEEP]
        found = status(cluster)
        assert (found.active, [one.id for one in found.virtual_routers or ()]) == ("d2", [VRID])
        assert brief(cluster)["Ready"] == "True Ready"
    cluster.machines["d1"].routers = None
    cluster.report("d1")
    found = status(cluster)
    assert (found.active, found.virtual_routers) == ("d2", None)
    assert [holding(cluster, name) for name in ("d1", "d2")] == [Holding.RELEASE, Holding.HOLD]


def has_own(cluster: SimulatedCluster, name: str, addresses: list[str] | None) -> None:
    found = cluster.lvs_nodes[name]
    assert found.status is not None
    cluster.lvs_nodes[name] = replace(found, status=found.status.model_copy(update={"own_addresses": addresses}))


def test_directors_are_known_to_one_another_by_their_own_addresses() -> None:
    cluster = vrrp_cluster()
    for name in ("d1", "d2"):
        has_own(cluster, name, None)
    cluster.put(group(cluster, failover="VRRP", vrrp={**ONE, "transport": "Unicast"}))
    known = cluster.groups["default"]
    assert known.status is not None
    cluster.groups["default"] = replace(known, status=known.status.model_copy(update={"directors": None}))
    assert [one.addresses for one in status(cluster).directors or ()] == [None, None]
    assert holding(cluster, "d1") is Holding.KEEP, "it does not know from where to speak"
    for name, own in (("d1", ["2001:db8:4::5", "10.0.0.5", "192.168.4.5"]), ("d2", ["10.0.0.6", "10.0.0.7"])):
        has_own(cluster, name, own)
    assert [one.addresses for one in status(cluster).directors or ()] == [
        ["192.168.4.5", "2001:db8:4::5"],
        ["10.0.0.6"],
    ]
    assert holding(cluster, "d1") is Holding.VRRP
    has_own(cluster, "d2", None)
    assert [one.addresses for one in status(cluster).directors or ()][1] == ["10.0.0.6"], "it speaks, and has to hear"


def test_adverts_go_to_a_former_director_until_it_says_nothing_of_vrrp() -> None:
    cluster = vrrp_cluster({**ONE, "transport": "Unicast"})
    says(cluster, "d1", "Backup")
    says(cluster, "d2", "Master")
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], labels={})
    assert [one.node for one in status(cluster).directors or ()] == ["d1", "d2"]
    assert [one.node for one in (status(cluster).virtual_routers or ())[0].priorities or ()] == ["d1"]
    cluster.machines["d2"].routers = None
    cluster.report("d2")
    assert [one.node for one in status(cluster).directors or ()] == ["d1"]


def test_version_2_has_no_ipv6() -> None:
    cluster = vrrp_cluster({**ONE, "version": 2})
    cluster.put(service(cluster, "six", addresses=[testing.VIP6]))
    cluster.round()
    key = WEB._replace(name="six")
    cluster.put(service(cluster, "six", addresses=[testing.VIP6], realServerPoolRef={"name": "web"}))
    cluster.round()
    found = condition(cluster, ConditionType.ACCEPTED, key)
    assert (found.status, found.reason) == ("False", "IPv6NeedsVRRP3")
    assert found.message.startswith(f"spec.addresses[0]: {testing.VIP6} is IPv6, and LvsDirectorGroup default speaks")
    cluster.put(group(cluster, failover="VRRP", vrrp=ONE))
    cluster.round()
    assert condition(cluster, ConditionType.ACCEPTED, key).status == "True"


def test_an_id_that_another_group_has_is_named() -> None:
    cluster = vrrp_cluster()
    cluster.put(group(cluster, "second", failover="VRRP", vrrp=ONE))
    cluster.round()
    found = cluster.groups["second"].status
    assert found is not None
    said = find_condition(found.conditions, ConditionType.READY)
    assert said is not None
    assert (said.status, said.reason, found.virtual_routers) == ("False", "Conflict", None)
    assert "55 belongs to LvsDirectorGroup default" in said.message


def test_a_group_without_addresses_waits_for_nobody() -> None:
    cluster = vrrp_cluster()
    cluster.delete_service(WEB)
    cluster.settle()
    cluster.now = LATER[30]
    assert (ready(cluster).status, ready(cluster).message) == ("True", "There are no addresses to carry yet")
    cluster.put(group(cluster, failover="VRRP", vrrp={**ONE, "gatewayAddresses": ["192.168.2.5"]}))
    assert (ready(cluster).status, ready(cluster).reason) == ("Unknown", "Pending")
    assert cluster.now != NOW
