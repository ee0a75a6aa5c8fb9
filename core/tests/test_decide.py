"""Tables of what is accepted, refused and said, from objects as users write them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from core_objects import WEB, director, group, node, pool, real_servers, service, small_cluster
from simulated_cluster import NOW, SimulatedCluster

from lvs_api import testing
from lvs_api.conditions import Condition, ConditionType, find_condition
from lvs_api.kinds import DIRECTOR_GROUP, NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE, Kind
from lvs_api.lvs_node import ServiceException
from lvs_api.objects import to_raw
from lvs_core.cluster_view import ObjectKey, make_view
from lvs_core.decide import decide
from lvs_core.decision import Decision
from lvs_core.memory import Memory
from lvs_core.view_objects import lvs_node_from_raw, service_from_raw, slice_from_raw, slice_to_raw


def condition(cluster: SimulatedCluster, kind: ConditionType, key: ObjectKey = WEB) -> Condition:
    status = cluster.services[key].status
    assert status is not None
    found = find_condition(status.conditions, kind)
    assert found is not None
    return found


def brief(cluster: SimulatedCluster, key: ObjectKey = WEB) -> dict[str, str]:
    status = cluster.services[key].status
    assert status is not None
    return {one.type: f"{one.status} {one.reason}" for one in status.conditions or ()}


def except_(cluster: SimulatedCluster, name: str, **fields: object) -> None:
    """Let an agent's report name the service."""
    one = cluster.lvs_nodes[name]
    assert one.status is not None
    said = ServiceException.model_validate({"namespace": "default", "name": "web", "message": "why", **fields})
    cluster.lvs_nodes[name] = replace(one, status=one.status.model_copy(update={"exceptions": [said]}))


def test_a_good_service_becomes_ready() -> None:
    cluster = small_cluster(directors=2)
    cluster.round()
    assert brief(cluster) == {
        "Accepted": "True Accepted",
        "ResolvedRefs": "True ResolvedRefs",
        "Programmed": "Unknown Pending",
        "Ready": "Unknown Pending",
    }
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


def test_plain_machines_are_shown_as_unverified() -> None:
    cluster = small_cluster()
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", plain="192.168.4.99")))
    cluster.settle()
    ready = condition(cluster, ConditionType.READY)
    assert (ready.status, ready.reason) == ("True", "Unverified")
    assert "nobody verifies the VIP on plain" in ready.message


REFERENCES = [
    (
        lambda c: c.pools.clear(),
        "ResolvedRefs",
        "PoolNotFound",
        "spec.realServerPoolRef.name: LvsRealServerPool",
    ),
    (
        lambda c: c.groups.clear(),
        "ResolvedRefs",
        "DirectorGroupNotFound",
        "spec.directorGroupRef.name: LvsDirectorGroup",
    ),
    (lambda c: c.put(pool(c, onFailure="Best")), "ResolvedRefs", "Invalid", "spec.onFailure"),
    (lambda c: c.put(service(c, scheduler="best")), "Accepted", "Invalid", "spec.scheduler"),
    (
        lambda c: c.put(service(c, ports=[{"name": "all", "port": 0}])),
        "Accepted",
        "Invalid",
        "spec.ports: port 0 (every port) needs persistence",
    ),
    (
        lambda c: c.put(service(c, addresses=["192.168.4.100"])),
        "Accepted",
        "NodeAddress",
        "spec.addresses[0]: 192.168.4.100 is an address of Node n1",
    ),
    (
        lambda c: c.put(pool(c, realServers=[{"name": "a", "address": "192.168.4.9", "port": 8080}])),
        "Accepted",
        "PortMismatch",
        "LvsRealServerPool default/web spec.realServers[a].port: 8080 differs from the service's port 80",
    ),
    (
        lambda c: c.put(pool(c, realServers=[{"name": "a", "address": testing.VIP}])),
        "Accepted",
        "Invalid",
        "spec.realServers[a].address: 192.168.4.15 is an address of the service itself",
    ),
    (
        lambda c: c.put(
            pool(
                c,
                realServers=[
                    {"name": "a", "address": "192.168.4.9"},
                    {"name": "b", "address": "192.168.4.9", "port": 80},
                ],
            )
        ),
        "Accepted",
        "Invalid",
        "a and b are both 192.168.4.9 port 80",
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "reason", "message"), REFERENCES)
@pytest.mark.parametrize("running", [False, True], ids=["new", "running"])
def test_what_is_wrong_is_named_and_freezes(
    spoil: Callable[[SimulatedCluster], None], kind: str, reason: str, message: str, running: bool
) -> None:
    cluster = small_cluster()
    if running:
        cluster.settle()
    before = dict(cluster.slices)
    spoil(cluster)
    cluster.round()
    said = condition(cluster, ConditionType(kind))
    assert (said.status, said.reason) == ("False", reason)
    assert message in said.message
    assert condition(cluster, ConditionType.READY).status != "True"
    assert {key: one.content for key, one in cluster.slices.items()} == {k: one.content for k, one in before.items()}
    if running and kind == "Accepted":
        assert "goes on unchanged" in said.message


def test_a_frozen_service_still_loses_members_that_are_not_prepared() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.pools.clear()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=False)
    cluster.round()
    (one,) = cluster.slices.values()
    assert [member.prepared for member in one.content.members] == [False, True]


def test_a_masqueraded_member_may_have_a_port_of_its_own() -> None:
    cluster = small_cluster(forwarding={"method": "Masquerade"})
    cluster.put(pool(cluster, realServers=[{"name": "a", "address": "192.168.4.9", "port": 8080}]))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    two = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}, ports=two))
    cluster.round()
    assert "is for services of one port, and this one has 2" in condition(cluster, ConditionType.ACCEPTED).message


def test_a_member_that_overrides_the_method_cannot_change_ports() -> None:
    cluster = small_cluster(
        forwarding={"method": "Masquerade"}, ports=[{"name": "http", "port": 80, "realServerPort": 8080}]
    )
    cluster.put(
        pool(
            cluster,
            realServers=[{"name": "a", "address": "192.168.4.9", "forwarding": {"method": "DirectRouting"}}],
        )
    )
    cluster.round()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert said.reason == "PortMismatch"
    assert "spec.realServers[a].forwarding" in said.message
    assert "spec.ports[http].realServerPort 8080" in said.message


OTHER = ObjectKey("default", "other")


def other(cluster: SimulatedCluster, **changes: object) -> None:
    cluster.put(service(cluster, "other", realServerPoolRef={"name": "web"}, **changes))


def test_of_two_new_services_the_older_one_wins() -> None:
    cluster = small_cluster()
    other(cluster)
    cluster.round()
    assert brief(cluster)["Accepted"] == "True Accepted"
    said = condition(cluster, ConditionType.ACCEPTED, OTHER)
    assert (said.status, said.reason) == ("False", "Conflict")
    assert said.message == (
        "spec.ports[http]: 192.168.4.15 port 80/TCP belongs to LvsVirtualService default/web; "
        "use another address or port, or delete that one"
    )


def test_the_incumbent_wins_against_an_older_service_that_is_edited() -> None:
    cluster = small_cluster(addresses=["192.168.4.16"])
    other(cluster)
    cluster.settle()
    cluster.put(service(cluster))
    cluster.round()
    assert brief(cluster)["Accepted"] == "False Conflict"
    assert brief(cluster, OTHER)["Accepted"] == "True Accepted"
    served = {one.service_key: one.content.service.addresses for one in cluster.slices.values()}
    assert served == {WEB: ["192.168.4.16"], OTHER: [testing.VIP]}
    cluster.delete_service(OTHER)
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_after_a_restore_the_accepted_status_is_the_incumbent() -> None:
    cluster = small_cluster(addresses=["192.168.4.16"])
    other(cluster)
    cluster.settle()
    cluster.slices.clear()
    cluster.services[WEB] = replace(cluster.services[WEB], spec=cluster.services[OTHER].spec)
    cluster.round()
    assert brief(cluster, OTHER)["Accepted"] == "True Accepted"
    assert brief(cluster)["Accepted"] == "False Conflict"


def test_other_ports_and_protocols_of_one_address_are_free() -> None:
    cluster = small_cluster()
    other(cluster, ports=[{"name": "dns", "protocol": "UDP", "port": 80}, {"name": "alt", "port": 81}])
    cluster.settle()
    assert brief(cluster, OTHER)["Ready"] == "True Ready"


def test_one_address_is_in_one_group() -> None:
    cluster = small_cluster()
    cluster.put(group(cluster, "second"))
    other(cluster, ports=[{"name": "alt", "port": 81}], directorGroupRef={"name": "second"})
    cluster.round()
    said = condition(cluster, ConditionType.ACCEPTED, OTHER)
    assert said.reason == "Conflict"
    assert "spec.addresses[0]: 192.168.4.15 is carried by the directors of LvsDirectorGroup default" in said.message


def test_a_service_made_anew_waits_for_its_predecessors_slices() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.delete_service(WEB, collect=False)
    cluster.put(service(cluster))
    cluster.round()
    assert brief(cluster)["Accepted"] == "Unknown Pending"
    assert cluster.slices == {}
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_a_service_being_deleted_is_gone_with_its_slices() -> None:
    cluster = small_cluster()
    cluster.settle()
    meta = replace(cluster.services[WEB].meta, deletion_timestamp=NOW)
    cluster.services[WEB] = replace(cluster.services[WEB], meta=meta)
    decision = cluster.round()
    assert WEB not in decision.services
    assert cluster.slices == {}


def test_a_director_is_no_real_server_of_its_own_group() -> None:
    cluster = small_cluster()
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", bad="192.168.4.5")))
    cluster.settle()
    ready = condition(cluster, ConditionType.READY)
    assert (ready.status, ready.reason) == ("True", "DirectorIsRealServer")
    assert "1 of 2 real servers take connections" in ready.message
    (one,) = cluster.slices.values()
    assert {member.name: member.refused for member in one.content.members} == {
        "bad": "DirectorIsRealServer",
        "rs1": None,
    }
    assert cluster.lvs_nodes["d1"].spec.addresses is None
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_families() -> None:
    cluster = small_cluster(addresses=[testing.VIP, testing.VIP6])
    cluster.settle()
    resolved = condition(cluster, ConditionType.RESOLVED_REFS)
    assert (resolved.status, resolved.reason) == ("False", "FamilyMismatch")
    assert resolved.message.startswith("spec.addresses[1]: 2001:db8:4::15 is IPv6, and LvsRealServerPool default/web")
    assert brief(cluster)["Programmed"] == "True Programmed"
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", six="2001:db8:4::100")))
    cluster.settle()
    assert brief(cluster)["ResolvedRefs"] == "True ResolvedRefs"
    cluster.put(service(cluster))
    cluster.settle()
    assert condition(cluster, ConditionType.RESOLVED_REFS).message.endswith(
        "no address of the service has their family: six"
    )
    assert cluster.services[WEB].status.real_servers.total == 1


def test_nodes_by_selector_and_weights_by_name() -> None:
    cluster = small_cluster()
    for name in ("n1", "n2"):
        cluster.nodes[name] = replace(cluster.nodes[name], labels={"app": "web"})
    dual = replace(
        node("n3", "192.168.4.201", labels={"app": "web"}), internal_addresses=("192.168.4.201", "2001:db8::3")
    )
    cluster.add_node(dual)
    cluster.put(service(cluster, addresses=[testing.VIP, testing.VIP6]))
    heavy = [{"name": "heavy", "address": "192.168.4.200", "weight": 9}]
    cluster.put(pool(cluster, realServers=heavy, nodes={"selector": {"matchLabels": {"app": "web"}}}, weight=3))
    cluster.settle()
    (one,) = cluster.slices.values()
    assert [(m.name, m.address, m.weight, m.node) for m in one.content.members] == [
        ("heavy", "192.168.4.200", 9, "n2"),
        ("node.n1", "192.168.4.100", 3, "n1"),
        ("node.n3", "192.168.4.201", 3, "n3"),
        ("node6.n3", "2001:db8::3", 3, "n3"),
    ]
    assert cluster.pools[WEB].status.members == 3
    assert [(one.address, one.device) for one in cluster.lvs_nodes["n3"].spec.addresses] == [
        ("192.168.4.15", "lo"),
        ("2001:db8:4::15", "lo"),
    ]


def test_a_pool_without_members() -> None:
    cluster = small_cluster()
    cluster.put(pool(cluster, realServers=None, nodes={"selector": {"matchLabels": {"app": "none"}}}))
    cluster.settle()
    assert brief(cluster)["Ready"] == "False NoMembers"
    assert find_condition(cluster.pools[WEB].status.conditions, ConditionType.READY).reason == "NoMembers"


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
    cluster.settle()
    after = cluster.services[WEB].status
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


def raw_of(kind: Kind[Any, Any], one: Any, spec: Any, status: Any) -> dict[str, Any]:  # noqa: ANN401
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
