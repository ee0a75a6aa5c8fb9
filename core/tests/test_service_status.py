"""What services and groups say, from what their directors report."""

from dataclasses import replace
from typing import Any

import pytest
from core_conditions import brief, condition, except_
from core_objects import WEB, director, pool, real_servers, service, small_cluster
from simulated_cluster import NOW

from lvs_api import testing
from lvs_api.conditions import ConditionType, find_condition
from lvs_api.kinds import DIRECTOR_GROUP, NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE, Kind
from lvs_api.objects import to_raw
from lvs_core.cluster_view import make_view
from lvs_core.decide import decide
from lvs_core.decision import Decision
from lvs_core.memory import Memory
from lvs_core.view_objects import lvs_node_from_raw, service_from_raw, slice_from_raw, slice_to_raw


def test_a_good_service_becomes_ready() -> None:
    cluster = small_cluster(directors=2)
    cluster.round()
    assert brief(cluster) == {
        "Accepted": "True Accepted",
        "ResolvedRefs": "True ResolvedRefs",
        "Programmed": "Unknown Pending",
        "Ready": "Unknown Pending",
    }
    assert cluster.services[WEB].status.observed_generation == 1
    cluster.settle()
    assert brief(cluster) == {
        "Accepted": "True Accepted",
        "ResolvedRefs": "True ResolvedRefs",
        "Programmed": "True Programmed",
        "Ready": "True Ready",
    }
    status = cluster.services[WEB].status
    assert [(one.node, one.state) for one in status.directors] == [("d1", "Active"), ("d2", "Standby")]
    assert to_raw(status.real_servers) == {"total": 2, "ready": 2, "draining": 0}
    assert status.addresses == [testing.VIP]
    assert cluster.groups["default"].status.active == "d1"
    assert cluster.groups["default"].status.services == 1
    assert cluster.pools[WEB].status.members == 2


@pytest.mark.parametrize(
    ("node", "ready", "said", "message"),
    [
        ("d1", 2, "True PacketsNotSeen", "2 of 2 real servers take connections; why"),
        ("d1", 1, "True PacketsNotSeen", "1 of 2 real servers take connections; why"),
        ("d2", 2, "True Ready", "2 of 2 real servers take connections"),
    ],
)
def test_packets_that_do_not_get_to_ipvs_are_said_and_leave_it_ready(
    node: str, ready: int, said: str, message: str
) -> None:
    """Whoever sends packets to a port that a firewall closes on purpose brings it about, too."""
    cluster = small_cluster(directors=2)
    cluster.settle()
    except_(cluster, node, reason="PacketsNotSeen", programmed=True, ready=ready)
    cluster.round()
    assert brief(cluster)["Programmed"] == "True Programmed"
    assert (brief(cluster)["Ready"], condition(cluster, ConditionType.READY).message) == (said, message)


def test_plain_machines_are_shown_as_unverified() -> None:
    cluster = small_cluster()
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", plain="192.168.4.99")))
    cluster.settle()
    ready = condition(cluster, ConditionType.READY)
    assert (ready.status, ready.reason) == ("True", "Unverified")
    assert "nobody verifies the VIP on plain" in ready.message


def test_a_pool_of_the_other_family_is_named_though_no_member_is_left() -> None:
    cluster = small_cluster()
    cluster.put(service(cluster, addresses=["2001:db8::15"]))
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100")))
    cluster.settle()
    resolved = condition(cluster, ConditionType.RESOLVED_REFS)
    assert (resolved.status, resolved.reason) == ("False", "FamilyMismatch")
    assert "spec.addresses[0]: 2001:db8::15" in resolved.message
    assert condition(cluster, ConditionType.READY).status == "False"


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"programmed": True}, "True"),
        ({"programmed": True, "draining": 0, "ready": 1}, "True"),
        ({"programmed": True, "draining": 1}, "Unknown"),
        ({"programmed": False}, "Unknown"),
    ],
)
def test_a_report_without_room_speaks_of_the_rest_by_its_last_exception(last: dict[str, Any], said: str) -> None:
    cluster = small_cluster()
    cluster.settle()
    except_(cluster, "d1", name="other", reason="MembersNotReady", **last)
    one = cluster.lvs_nodes["d1"]
    assert one.status is not None
    cluster.lvs_nodes["d1"] = replace(one, status=one.status.model_copy(update={"truncated": True}))
    cluster.round()
    assert condition(cluster, ConditionType.PROGRAMMED).status == said


@pytest.mark.parametrize(
    ("below", "holds", "said"),
    [
        ("KeepAddress", True, {"Programmed": "True Programmed", "Ready": "False BelowQuorum"}),
        ("WithdrawAddress", True, {"Programmed": "True Programmed", "Ready": "False BelowQuorum"}),
        ("WithdrawAddress", False, {"Programmed": "False BelowQuorum", "Ready": "False BelowQuorum"}),
        ("KeepAddress", False, {"Programmed": "False NotProgrammed", "Ready": "False NotProgrammed"}),
    ],
)
def test_a_service_below_quorum_is_not_ready(below: str, holds: bool, said: dict[str, str]) -> None:
    cluster = small_cluster(quorum={"weight": 3, "below": below})
    cluster.settle()
    except_(cluster, "d1", reason="BelowQuorum", programmed=True, ready=1)
    one = cluster.lvs_nodes["d1"]
    assert one.status is not None
    (report,) = one.status.director_groups or ()
    carries = [report.model_copy(update={"holds_addresses": holds})]
    cluster.lvs_nodes["d1"] = replace(one, status=one.status.model_copy(update={"director_groups": carries}))
    cluster.round()
    found = brief(cluster)
    assert {kind: found[kind] for kind in said} == said
    if holds:
        assert condition(cluster, ConditionType.READY).message == "1 of 2 real servers take connections; why"


def test_quorum_may_be_lost_with_every_real_server_in_use() -> None:
    cluster = small_cluster(quorum={"weight": 9})
    cluster.settle()
    except_(cluster, "d1", reason="BelowQuorum", programmed=True, ready=2)
    cluster.round()
    assert brief(cluster)["Ready"] == "False BelowQuorum"
    assert condition(cluster, ConditionType.READY).message == "2 of 2 real servers take connections; why"


def test_exceptions_of_directors() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    except_(cluster, "d1", reason="MembersNotReady", programmed=True, ready=1)
    cluster.round()
    ready = condition(cluster, ConditionType.READY)
    assert (ready.status, ready.reason) == ("True", "MembersNotReady")
    assert ready.message == "1 of 2 real servers take connections; why"
    except_(cluster, "d1", reason="MembersNotReady", programmed=True, ready=0)
    cluster.round()
    assert brief(cluster)["Ready"] == "False NoMemberReady"
    except_(cluster, "d1", reason="NotOnLink", programmed=True, ready=0)
    cluster.round()
    assert brief(cluster)["Ready"] == "False NotOnLink"
    except_(cluster, "d1", reason="SchedulerUnavailable", programmed=False)
    cluster.round()
    assert brief(cluster)["Programmed"] == "False SchedulerUnavailable"
    assert cluster.services[WEB].status.directors[0].state == "Failed"
    assert brief(cluster)["Ready"] == "False SchedulerUnavailable"


def test_a_digest_that_is_not_known_is_no_news() -> None:
    cluster = small_cluster()
    cluster.settle()
    before = cluster.services[WEB].status
    one = cluster.lvs_nodes["d1"]
    reports = [report.model_copy(update={"view_digest": "ahead"}) for report in one.status.director_groups]
    cluster.lvs_nodes["d1"] = replace(one, status=one.status.model_copy(update={"director_groups": reports}))
    cluster.memory = Memory()
    cluster.round()
    assert cluster.services[WEB].status == before


def test_an_edit_changes_conditions_only_when_it_is_programmed() -> None:
    cluster = small_cluster()
    cluster.settle()
    before = cluster.services[WEB].status
    cluster.put(service(cluster, scheduler="rr"))
    cluster.round()
    cluster.round()
    programmed = condition(cluster, ConditionType.PROGRAMMED)
    assert (programmed.status, programmed.observed_generation) == ("True", 1)
    assert cluster.services[WEB].status.observed_generation == 1
    cluster.settle()
    after = cluster.services[WEB].status
    assert after.observed_generation == 2
    assert [one.observed_generation for one in after.conditions] == [2, 2, 2, 2]
    assert [one.last_transition_time for one in after.conditions] == [
        one.last_transition_time for one in before.conditions
    ]


def test_a_silent_standby_is_named_and_does_not_unready_the_service() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], ready=False)
    cluster.round()
    programmed = condition(cluster, ConditionType.PROGRAMMED)
    assert (programmed.status, programmed.message) == ("True", "Programmed on d1; not heard from: d2")
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=False)
    cluster.round()
    assert brief(cluster)["Ready"] == "Unknown Pending"
    said = find_condition(cluster.groups["default"].status.conditions, ConditionType.READY)
    assert (said.status, said.reason) == ("False", "NotProgrammed")
    assert "node.kubernetes.io/out-of-service" in said.message
    assert cluster.groups["default"].status.active == "d1"


def test_no_directors() -> None:
    cluster = small_cluster(directors=0)
    cluster.round()
    assert brief(cluster)["Ready"] == "False NoDirectors"
    said = find_condition(cluster.groups["default"].status.conditions, ConditionType.READY)
    assert said.reason == "NoDirectors"


def test_the_active_director_moves_only_when_it_is_safe() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()

    def active() -> str | None:
        cluster.round()
        return cluster.groups["default"].status.active

    cluster.nodes["d1"] = replace(cluster.nodes["d1"], ready=False)
    assert active() == "d1"
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], labels={}, ready=True)
    assert active() == "d1", "deselected, but it has not let go"
    cluster.report("d1")
    assert active() == "d1"
    cluster.act("d1")
    cluster.report("d1")
    assert active() == "d2"
    cluster.nodes["d1"] = director("d1", "192.168.4.5")
    cluster.settle()
    assert active() == "d2", "sticky"
    cluster.nodes["d2"] = replace(cluster.nodes["d2"], out_of_service=True)
    assert active() == "d1"


def test_a_group_that_lost_its_status_keeps_the_director_that_holds_the_addresses() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], out_of_service=True)
    cluster.settle()
    assert cluster.groups["default"].status.active == "d2"
    cluster.nodes["d1"] = replace(cluster.nodes["d1"], out_of_service=False)
    cluster.settle()
    cluster.groups["default"] = replace(cluster.groups["default"], status=None)
    cluster.memory = Memory()
    cluster.round()
    assert cluster.groups["default"].status.active == "d2"


def test_a_deleted_group_freezes_its_directors_until_the_last_slice_is_gone() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.groups.clear()
    cluster.settle()
    assert cluster.lvs_nodes["d1"].spec.director_groups == ["default"]
    cluster.delete_service(WEB)
    cluster.settle()
    assert cluster.lvs_nodes == {}


def raw_of(kind: Kind[Any, Any], one: Any, spec: Any, status: Any) -> dict[str, Any]:
    made = testing.raw_object(kind, one.meta.name, spec, namespace=one.meta.namespace or "")
    made["metadata"] |= {
        "uid": one.meta.uid,
        "generation": one.meta.generation,
        "creationTimestamp": one.meta.creation_timestamp,
    }
    return made | ({"status": to_raw(status)} if status is not None else {})


def test_what_is_written_reads_back_as_the_same() -> None:
    """Through the API and back there is no difference, so an operator at rest writes nothing."""
    cluster = small_cluster(directors=2, persistence={"timeoutSeconds": 60}, schedulerFlags=["sh-port"], scheduler="sh")
    cluster.put(
        pool(
            cluster, healthCheck={"http": {"path": "/"}}, realServers=real_servers(rs1="192.168.4.100", x="192.168.4.9")
        )
    )
    cluster.settle()
    cluster.put(service(cluster, forwarding={"method": "Tunnel"}))
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100")))
    for _ in range(3):
        decision: Decision = cluster.round()
        for key, content in decision.slices.items():
            raw = raw_of(SERVICE_SLICE, cluster.slices[key], slice_to_raw(content), None)
            assert slice_from_raw(raw).content == content
        for name, spec in decision.lvs_nodes.items():
            raw = raw_of(NODE, cluster.lvs_nodes[name], to_raw(spec), cluster.lvs_nodes[name].status)
            assert lvs_node_from_raw(raw).spec == spec
        for key, status in decision.services.items():
            one = cluster.services[key]
            assert service_from_raw(raw_of(VIRTUAL_SERVICE, one, to_raw(one.spec), status)).status == status
        for kind, statuses in ((REAL_SERVER_POOL, decision.pools), (DIRECTOR_GROUP, decision.groups)):
            for status in statuses.values():
                assert kind.status.model_validate_json(status.model_dump_json(by_alias=True)) == status
        for name in cluster.machines:
            cluster.act(name)
            cluster.report(name)


def test_an_empty_cluster() -> None:
    decision = decide(make_view(), Memory(), NOW)
    assert (decision.slices, decision.lvs_nodes, decision.agent_nodes) == ({}, {}, frozenset())
