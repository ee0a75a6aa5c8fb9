"""Sync daemons, from the plan to the kernel, the ledger and the status."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NO_PART, World, director, full_disk, member, service
from test_cleanup_verb import clean

from lvs_agent.decide.kernel_settings import SyncDaemon, SyncState
from lvs_agent.decide.sync_daemons import with_vrrp_roles
from lvs_agent.kernel.fake_ipvs_settings import FakeIpvsSettings
from lvs_agent.kernel.settings_contract import DAEMON_CASES, DaemonCase, daemon_complaint
from lvs_agent.serve.plan_text import plan_lines
from lvs_api.conditions import ConditionType
from lvs_api.lvs_node import VirtualRouterState
from lvs_api.node_settings import ConnectionSync
from lvs_core.group_settings import GroupSync, NodeSettings, SyncRole
from lvs_core.plan import NodePlan

MASTER, BACKUP = SyncState.MASTER, SyncState.BACKUP
MASTER_HERE, BACKUP_HERE = VirtualRouterState.MASTER, VirtualRouterState.BACKUP
SYNC = ConnectionSync(interface="eth0", sync_id=7)
THEIRS = SyncDaemon(interface="eth1", sync_id=9, group=ip_address("224.0.0.81"), port=8848, ttl=1)
DIFFER = ConditionType.SETTINGS_DIFFER
PLAIN = director(service(member(100)))


def syncing(*roles: SyncRole, sync: ConnectionSync = SYNC, has_roles: bool = True) -> NodePlan:
    wish = GroupSync(settings=sync, group="default", roles=frozenset(roles))
    return replace(PLAIN, settings=NodeSettings(sync=wish, has_roles=has_roles))


def running(world: World) -> dict[str, tuple[str, int]]:
    return {state.name: (daemon.interface, daemon.sync_id) for state, daemon in world.settings.daemons.items()}


@pytest.mark.parametrize("case", DAEMON_CASES, ids=lambda case: case.name)
def test_the_fake_keeps_the_contract(case: DaemonCase) -> None:
    assert daemon_complaint(FakeIpvsSettings(), case) is None


async def test_the_role_follows_who_holds_the_addresses(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.BACKUP))
    assert running(world) == {"BACKUP": ("eth0", 7)}
    (row,) = [row for row in world.status.settings or () if row.name == "connectionSync"]
    assert row.value == "Backup on eth0, sync id 7, 224.0.0.81 port 8848, ttl 1"
    assert (row.message, row.reason) == ("LvsDirectorGroup default", None)
    await world.do(syncing(SyncRole.MASTER))
    assert running(world) == {"MASTER": ("eth0", 7)}
    await world.do(syncing(SyncRole.MASTER, SyncRole.BACKUP))
    assert running(world) == {"MASTER": ("eth0", 7), "BACKUP": ("eth0", 7)}
    writes, told = world.settings.writes, world.status
    await world.do(syncing(SyncRole.MASTER, SyncRole.BACKUP), rounds=3)
    assert (world.settings.writes, world.status) == (writes, told)
    await world.do(PLAIN)
    assert running(world) == {}
    assert world.ledger.ledger.daemons == {}


@pytest.mark.parametrize(
    ("own", "states", "roles"),
    [
        ([], {"one": {MASTER_HERE}}, {SyncRole.MASTER}),
        ([], {"one": {BACKUP_HERE}}, {SyncRole.BACKUP}),
        ([], {"one": {VirtualRouterState.FAULT}}, {SyncRole.BACKUP}),
        ([], {"one": {MASTER_HERE, BACKUP_HERE}}, {SyncRole.MASTER, SyncRole.BACKUP}),
        ([SyncRole.BACKUP], {"one": {MASTER_HERE}}, {SyncRole.MASTER, SyncRole.BACKUP}),
        ([], {"one": {MASTER_HERE}, "another": {BACKUP_HERE}}, {SyncRole.MASTER}),
        ([SyncRole.MASTER], {"one": set()}, None),
        ([], {}, None),
    ],
)
def test_with_vrrp_the_role_follows_the_virtual_routers(
    own: list[SyncRole], states: dict[str, set[VirtualRouterState]], roles: set[SyncRole] | None
) -> None:
    wish = GroupSync(settings=SYNC, group="one", roles=frozenset(own), vrrp_groups=frozenset({"one"}))
    told = with_vrrp_roles(NodeSettings(sync=wish), states)
    assert told.has_roles is (roles is not None)
    assert told.sync is not None
    assert roles is None or told.sync.roles == roles


def test_without_vrrp_groups_the_roles_are_the_objects() -> None:
    settings = syncing(SyncRole.MASTER).settings
    assert with_vrrp_roles(settings, {"default": {BACKUP_HERE}}) is settings
    assert with_vrrp_roles(NodeSettings(), {}) == NodeSettings()


async def test_an_edit_starts_it_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER, sync=ConnectionSync(interface="eth0", sync_id=7, max_length=1400)))
    assert world.settings.daemons[MASTER].max_length == 1400
    await world.do(syncing(SyncRole.MASTER))
    assert world.settings.daemons[MASTER].max_length == 1472
    await world.do(syncing(SyncRole.MASTER, sync=ConnectionSync(interface="eth1", sync_id=8)))
    assert running(world) == {"MASTER": ("eth1", 8)}
    assert world.metric("lvs_agent_repairs_total", kind="sync_daemon") == 0


async def test_while_nobody_is_known_to_hold_the_addresses_all_stays(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER))
    await world.do(syncing(has_roles=False), rounds=2)
    assert running(world) == {"MASTER": ("eth0", 7)}
    await world.do(syncing(SyncRole.BACKUP))
    assert running(world) == {"BACKUP": ("eth0", 7)}


async def test_other_hands_are_repaired_once_and_then_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER))
    world.settings.daemons.clear()
    await world.later(1)
    assert running(world) == {"MASTER": ("eth0", 7)}
    assert world.metric("lvs_agent_repairs_total", kind="sync_daemon") == 1
    world.settings.daemons[MASTER] = THEIRS
    await world.later(1)
    assert running(world) == {"MASTER": ("eth1", 9)}
    reason, message = world.condition(DIFFER) or ("", "")
    assert reason == "ChangedByOthers"
    assert "found on eth1, sync id 9" in message
    await world.later(60)
    assert running(world) == {"MASTER": ("eth0", 7)}
    await world.later(61)
    assert world.condition(DIFFER) is None


async def test_somebody_elses_daemon_is_left_alone_and_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings.daemons.update({MASTER: THEIRS, BACKUP: THEIRS})
    await world.do(PLAIN)
    await world.do(syncing(SyncRole.MASTER))
    assert running(world) == {"MASTER": ("eth1", 9), "BACKUP": ("eth1", 9)}
    reason, message = world.condition(DIFFER) or ("", "")
    assert reason == "ForeignEntry"
    assert "ipvsadm --stop-daemon master" in message
    del world.settings.daemons[MASTER]
    await world.later(1)
    assert running(world) == {"MASTER": ("eth0", 7), "BACKUP": ("eth1", 9)}
    await world.do(NO_PART)
    assert running(world) == {"BACKUP": ("eth1", 9)}


async def test_one_that_the_kernel_did_not_start_is_not_ours(tmp_path: Path) -> None:
    """Whoever starts one of another kind there, once it can be started, is somebody else."""
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER, sync=ConnectionSync(interface="eth9", sync_id=7)))
    reason, message = world.condition(DIFFER) or ("", "")
    assert (reason, "No such device" in message) == ("KernelRefused", True)
    assert world.ledger.ledger.daemons == {}
    world.settings.daemons[MASTER] = THEIRS
    await world.later(61)
    assert running(world) == {"MASTER": ("eth1", 9)}
    assert (world.condition(DIFFER) or ("", ""))[0] == "ForeignEntry"


async def test_an_edit_that_the_kernel_refuses_leaves_what_ran(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER))
    bad = syncing(SyncRole.MASTER, sync=ConnectionSync(interface="eth9", sync_id=7))
    await world.do(bad)
    for _ in range(3):
        assert running(world) == {"MASTER": ("eth0", 7)}
        assert world.ledger.ledger.daemons[MASTER].interface == "eth0"
        reason, message = world.condition(DIFFER) or ("", "")
        assert (reason, "No such device" in message) == ("KernelRefused", True)
        await world.later(61)
    writes = world.settings.writes
    await world.do(syncing(SyncRole.MASTER))
    assert (running(world), world.settings.writes) == ({"MASTER": ("eth0", 7)}, writes)
    assert world.condition(DIFFER) is None


async def test_one_that_runs_as_it_is_to_is_ours_from_then_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER))
    (tmp_path / "ledger").unlink()
    world.restart()
    await world.do(syncing(SyncRole.MASTER))
    assert world.settings.writes == 1
    await world.do(PLAIN)
    assert running(world) == {}


async def test_one_that_somebody_started_in_another_way_since_is_theirs(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER))
    world.settings.daemons[MASTER] = THEIRS
    await world.do(PLAIN)
    assert running(world) == {"MASTER": ("eth1", 9)}


async def test_a_restarted_agent_knows_its_daemons(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.BACKUP, sync=ConnectionSync(interface="eth0", sync_id=7, max_length=1400)))
    world.restart()
    await world.do(PLAIN)
    assert running(world) == {}


async def test_a_refusal_is_told_with_the_kernels_words(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(syncing(SyncRole.MASTER, sync=ConnectionSync(interface="bond7", sync_id=7)))
    reason, message = world.condition(DIFFER) or ("", "")
    assert reason == "KernelRefused"
    assert "sync daemon master on bond7" in message
    assert "No such device" in message
    world.settings.devices.add("bond7")
    await world.later(61)
    assert running(world) == {"MASTER": ("bond7", 7)}
    assert world.condition(DIFFER) is None


async def test_without_ipvs_it_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ipvs.available = world.settings.available = False
    await world.do(syncing(SyncRole.MASTER))
    assert (world.condition(DIFFER) or ("",))[0] == "IPVSUnavailable"


async def test_nothing_is_started_that_could_not_be_remembered(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(PLAIN)
    with full_disk():
        await world.do(syncing(SyncRole.MASTER), rounds=2)
        assert running(world) == {}
        assert (world.condition(DIFFER) or ("",))[0] == "StateNotWritten"
    await world.later(20)
    assert running(world) == {"MASTER": ("eth0", 7)}


async def test_cleanup_stops_what_is_ours(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings.daemons[BACKUP] = THEIRS
    await world.do(syncing(SyncRole.MASTER))
    assert await clean(world) == ()
    assert running(world) == {"BACKUP": ("eth1", 9)}


def test_the_plan_as_text_names_it() -> None:
    line = "  connectionSync Master on eth0, syncId 7, 224.0.0.81 port 8848, ttl 1  [LvsDirectorGroup default]"
    assert line in list(plan_lines(syncing(SyncRole.MASTER)))
