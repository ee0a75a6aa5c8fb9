"""Settings that a node has once: which group's count, and what each group is told of its own."""

from dataclasses import replace

import pytest
from core_objects import director, group, node, small_cluster
from simulated_cluster import SimulatedCluster

from lvs_api import testing
from lvs_api.conditions import ConditionType, find_condition
from lvs_api.director_group import LvsDirectorGroupStatus
from lvs_api.lvs_node import NodeSettingStatus
from lvs_core.cluster_view import DirectorGroup
from lvs_core.compile import AgentView, compile_plan
from lvs_core.group_settings import NO_SETTINGS, SyncRole, settings_of
from lvs_core.view_objects import group_from_raw, lvs_node_from_raw

CLASSIC = {"tcpSeconds": 30, "tcpFinSeconds": 5, "udpSeconds": 60}


def raw_group(name: str, created: str = testing.CREATED, **changes: object) -> DirectorGroup:
    raw = testing.director_group(name, **changes)
    raw["metadata"]["creationTimestamp"] = created
    return group_from_raw(raw)


def asked(*groups: DirectorGroup | None) -> dict[str, int]:
    return {str(key): number.value for key, number in settings_of("d1", groups).numbers.items()}


def test_what_is_absent_is_not_asked_for() -> None:
    assert asked(raw_group("a")) == asked(raw_group("a", timeouts={})) == {}
    assert asked(raw_group("a", timeouts=CLASSIC)) == {f"timeouts.{name}": value for name, value in CLASSIC.items()}
    assert asked(raw_group("a", timeouts={"udpSeconds": 60})) == {"timeouts.udpSeconds": 60}


def test_groups_of_one_node_add_up_and_the_oldest_decides() -> None:
    older = raw_group("z", "2025-01-01T00:00:01Z", timeouts={"tcpSeconds": 30})
    younger = raw_group("a", "2025-01-01T00:00:02Z", timeouts={"tcpSeconds": 900, "udpSeconds": 60})
    for order in ([older, younger], [younger, older]):
        assert asked(*order) == {"timeouts.tcpSeconds": 30, "timeouts.udpSeconds": 60}
        (conflict,) = settings_of("d1", order).conflicts
        assert conflict.group == "a"
        assert str(conflict) == "spec.timeouts.tcpSeconds 900: LvsDirectorGroup z is older and wants 30 there"
    same = raw_group("b", "2025-01-01T00:00:02Z", timeouts={"tcpSeconds": 30})
    assert settings_of("d1", [older, same]).conflicts == ()


def test_of_two_groups_of_one_second_the_smaller_uid_decides() -> None:
    a, b = (raw_group(name, timeouts={"tcpSeconds": value}) for name, value in (("a", 1), ("b", 2)))
    assert asked(b, a) == {"timeouts.tcpSeconds": 1}


@pytest.mark.parametrize("unreadable", [None, raw_group("b", timeouts={"tcpSeconds": 0})])
def test_a_group_that_can_not_be_read_makes_the_rest_incomplete(unreadable: DirectorGroup | None) -> None:
    found = settings_of("d1", [raw_group("a", timeouts=CLASSIC), unreadable])
    assert not found.is_complete
    assert len(found.numbers) == 3
    assert settings_of("d1", [raw_group("a")]).is_complete
    assert settings_of("d1", []) == NO_SETTINGS
    assert NO_SETTINGS.is_complete


def test_a_node_is_told_of_its_own_groups_only() -> None:
    groups = {name: raw_group(name, timeouts={"tcpSeconds": number}) for number, name in enumerate("ab", 1)}
    for mine, wanted in ((["b"], 2), (["a", "b"], 1)):
        told = lvs_node_from_raw(testing.lvs_node("d1", addresses=None, directorGroups=mine))
        plan = compile_plan(AgentView(node="d1", lvs_node=told, groups=groups))
        assert [number.value for number in plan.settings.numbers.values()] == [wanted]
        assert [one.generation for one in plan.directing] == [1] * len(mine)
    missing = lvs_node_from_raw(testing.lvs_node("d1", addresses=None, directorGroups=["c"]))
    assert not compile_plan(AgentView(node="d1", lvs_node=missing, groups=groups)).settings.is_complete


SYNC = {"interface": "eth0", "syncId": 7}


def syncing(name: str, active: str | None, created: str = testing.CREATED, **changes: object) -> DirectorGroup:
    """A group that tells of connections, with `active` as the one that holds its addresses."""
    found = raw_group(name, created, connectionSync={**SYNC, **changes})
    return replace(found, status=LvsDirectorGroupStatus(active=active))


@pytest.mark.parametrize(
    ("actives", "roles"),
    [
        (["d1"], {SyncRole.MASTER}),
        (["d2"], {SyncRole.BACKUP}),
        (["d1", "d2"], {SyncRole.MASTER, SyncRole.BACKUP}),
        (["d1", "d1"], {SyncRole.MASTER}),
    ],
)
def test_who_holds_the_addresses_tells_and_the_others_are_told(actives: list[str], roles: set[SyncRole]) -> None:
    found = settings_of("d1", [syncing(name, active) for name, active in zip("ab", actives, strict=False)])
    assert found.sync is not None
    assert (found.sync.roles, found.sync.group, found.has_roles, found.conflicts) == (roles, "a", True, ())


def test_where_nobody_is_named_all_stays() -> None:
    assert not settings_of("d1", [syncing("a", None)]).has_roles
    assert not settings_of("d1", [syncing("a", "d1"), None]).has_roles
    assert settings_of("d1", [raw_group("a")]).has_roles
    assert settings_of("d1", [raw_group("a")]).sync is None


def test_under_vrrp_the_node_itself_knows_its_role() -> None:
    vrrp = raw_group("v", connectionSync=SYNC, failover="VRRP")
    found = settings_of("d1", [vrrp, syncing("a", "d1")])
    assert found.sync is not None
    assert (found.sync.roles, found.sync.vrrp_groups, found.has_roles) == ({SyncRole.MASTER}, {"v"}, True)
    alone = settings_of("d1", [vrrp])
    assert alone.sync is not None
    assert (alone.sync.roles, alone.sync.vrrp_groups, alone.has_roles) == (frozenset(), {"v"}, True)
    assert not settings_of("d1", [vrrp, syncing("a", None)]).has_roles


def test_two_groups_of_a_node_tell_in_one_way() -> None:
    older, younger = syncing("z", "d1", "2025-01-01T00:00:01Z"), syncing("a", "d2", "2025-01-01T00:00:02Z", syncId=8)
    found = settings_of("d1", [younger, older])
    assert found.sync is not None
    assert (found.sync.group, found.sync.settings.sync_id, found.sync.roles) == ("z", 7, {SyncRole.MASTER})
    (conflict,) = found.conflicts
    assert str(conflict) == (
        "spec.connectionSync on eth0, syncId 8, 224.0.0.81 port 8848, ttl 1: LvsDirectorGroup z is older and wants "
        "on eth0, syncId 7, 224.0.0.81 port 8848, ttl 1 there"
    )


def applied(cluster: SimulatedCluster, name: str = "default") -> tuple[str, str, str] | None:
    status = cluster.groups[name].status
    assert status is not None
    found = find_condition(status.conditions, ConditionType.SETTINGS_APPLIED)
    return (found.status.value, found.reason, found.message) if found else None


def say(cluster: SimulatedCluster, name: str, *rows: NodeSettingStatus) -> None:
    one = cluster.lvs_nodes[name]
    assert one.status is not None
    cluster.lvs_nodes[name] = replace(one, status=one.status.model_copy(update={"settings": list(rows)}))


def test_a_group_without_settings_has_no_condition_about_them() -> None:
    cluster = small_cluster()
    cluster.settle()
    assert applied(cluster) is None
    cluster.put(group(cluster, timeouts=CLASSIC))
    cluster.settle()
    assert applied(cluster) is not None
    cluster.put(group(cluster))
    cluster.settle()
    assert applied(cluster) is None


def test_settings_are_applied_when_every_director_has_acted_on_the_present_generation() -> None:
    cluster = small_cluster(directors=2)
    cluster.settle()
    cluster.put(group(cluster, timeouts=CLASSIC))
    cluster.round()
    assert applied(cluster) == ("Unknown", "Pending", "Not reported as in force yet: d1, d2")
    cluster.report("d1")
    cluster.round()
    assert applied(cluster) == ("Unknown", "Pending", "Not reported as in force yet: d2")
    cluster.report("d2")
    cluster.round()
    assert applied(cluster) == ("True", "SettingsApplied", "In force on d1, d2")


def test_what_a_director_says_of_a_setting_is_told_to_the_group_that_wants_it() -> None:
    cluster = small_cluster()
    cluster.put(group(cluster, timeouts={"tcpSeconds": 30}))
    cluster.settle()
    fault = NodeSettingStatus(name="timeouts.udpSeconds", value="60", reason="ChangedByOthers", message="udp: other")
    say(cluster, "d1", fault)
    cluster.round()
    assert applied(cluster) == ("True", "SettingsApplied", "In force on d1")
    say(cluster, "d1", fault.model_copy(update={"name": "timeouts.tcpSeconds", "message": "tcp: other"}))
    cluster.round()
    assert applied(cluster) == ("False", "ChangedByOthers", "d1: tcp: other")
    say(cluster, "d1", fault.model_copy(update={"name": "timeouts.tcpSeconds", "reason": "OfANewerVersion"}))
    cluster.round()
    assert applied(cluster) == ("False", "NotProgrammed", "d1: udp: other")


def test_the_younger_group_of_a_shared_director_is_told_of_the_conflict() -> None:
    cluster = small_cluster()
    cluster.add_node(director("d2", "192.168.4.6"))
    cluster.add_node(node("d3", "192.168.4.7", labels={"role": "other"}))
    cluster.put(group(cluster, timeouts={"tcpSeconds": 30}))
    both = {"selector": {"matchExpressions": [{"key": "lvs-director", "operator": "Exists"}]}}
    cluster.put(group(cluster, "second", timeouts={"tcpSeconds": 900}, nodes=both))
    apart = {"selector": {"matchLabels": {"role": "other"}}}
    cluster.put(group(cluster, "third", timeouts={"tcpSeconds": 1}, nodes=apart))
    cluster.settle()
    assert applied(cluster) == ("True", "SettingsApplied", "In force on d1, d2")
    message = "spec.timeouts.tcpSeconds 900: LvsDirectorGroup default is older and wants 30 there (on d1, d2)"
    assert applied(cluster, "second") == ("False", "Conflict", message)
    assert applied(cluster, "third") == ("True", "SettingsApplied", "In force on d3")


def test_settings_without_a_director_are_nowhere_in_force() -> None:
    cluster = small_cluster(directors=0)
    cluster.put(group(cluster, timeouts=CLASSIC))
    cluster.settle()
    assert applied(cluster) == ("Unknown", "NoDirectors", "No Node is a director")
