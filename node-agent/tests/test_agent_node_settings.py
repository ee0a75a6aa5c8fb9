"""The whole agent: what IPVS has once, from the plan to the kernel, the ledger and the status."""

from dataclasses import replace
from pathlib import Path

import pytest
from agent_world import NO_PART, World, director, full_disk, member, real_server, service
from test_cleanup_verb import clean

from lvs_agent.decide.kernel_settings import KernelTimeouts, Timeout
from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.errors import IpvsReadFailed, PermissionRefused, SettingRefused
from lvs_agent.kernel.fake_ipvs_settings import KERNELS_TIMEOUTS, FakeIpvsSettings
from lvs_agent.kernel.settings_contract import TIMEOUT_CASES, TimeoutCase, timeout_complaint
from lvs_agent.serve.plan_text import plan_lines
from lvs_api.conditions import ConditionType
from lvs_api.node_settings import ConnectionSync, SettingKey
from lvs_core.group_settings import GroupNumber, GroupSync, NodeSettings, SyncRole
from lvs_core.plan import NodePlan

CLASSIC = {Timeout.TCP: 30, Timeout.TCP_FIN: 5, Timeout.UDP: 60}
DIFFER = ConditionType.SETTINGS_DIFFER


def with_timeouts(plan: NodePlan | None = None, *, is_complete: bool = True, **seconds: int) -> NodePlan:
    """The plan of a director whose group wants these."""
    numbers = {
        SettingKey("timeouts", name): GroupNumber(value=value, group="default") for name, value in seconds.items()
    }
    wanted = NodeSettings(numbers=numbers, is_complete=is_complete)
    return replace(plan or director(service(member(100))), settings=wanted)


CLASSIC_PLAN = with_timeouts(tcp_seconds=30, tcp_fin_seconds=5, udp_seconds=60)


@pytest.mark.parametrize("case", TIMEOUT_CASES, ids=lambda case: case.name)
def test_the_fake_keeps_the_contract(case: TimeoutCase) -> None:
    assert timeout_complaint(FakeIpvsSettings(), case) is None


async def test_set_told_and_given_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(CLASSIC_PLAN)
    assert world.settings.timeouts == CLASSIC
    rows = {row.name: (row.value, row.message, row.reason) for row in world.status.settings or ()}
    assert rows == {
        "timeouts.tcpSeconds": ("30", "LvsDirectorGroup default", None),
        "timeouts.tcpFinSeconds": ("5", "LvsDirectorGroup default", None),
        "timeouts.udpSeconds": ("60", "LvsDirectorGroup default", None),
    }
    assert world.condition(DIFFER) is None
    await world.do(CLASSIC_PLAN)
    writes, told = world.settings.writes, world.status
    await world.do(CLASSIC_PLAN, rounds=3)
    assert world.settings.writes == writes
    assert world.status == told
    await world.do(with_timeouts(tcp_seconds=30))
    assert world.settings.timeouts == {**KERNELS_TIMEOUTS, Timeout.TCP: 30}
    await world.do(NO_PART)
    assert world.settings.timeouts == KERNELS_TIMEOUTS
    assert world.ledger.ledger.settings == {}
    assert world.status.settings is None


async def test_without_a_wish_nothing_is_written_and_nothing_taken_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings.timeouts[Timeout.TCP_FIN] = 2
    await world.do(director(service(member(100))))
    await world.do(NO_PART)
    assert world.settings.writes == 0


async def test_a_real_server_is_not_asked_about_ipvs(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings.available = False
    await world.do(real_server("192.168.4.15"))
    assert world.status.settings is None
    assert world.condition(DIFFER) is None


async def test_other_hands_are_repaired_once_and_then_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(CLASSIC_PLAN)
    world.settings.timeouts.update(KERNELS_TIMEOUTS)
    await world.later(1)
    assert world.settings.timeouts == CLASSIC
    assert world.metric("lvs_agent_repairs_total", kind="timeout") == 3
    assert world.condition(DIFFER) is None
    world.settings.timeouts[Timeout.TCP] = 900
    await world.later(1)
    assert world.settings.timeouts[Timeout.TCP] == 900
    reason, message = world.condition(DIFFER) or ("", "")
    assert reason == "ChangedByOthers"
    assert message.startswith("timeouts.tcpSeconds: something else on this node keeps setting it to 900")
    assert "ipvsadm --set" in message
    told = len(world.statuses)
    world.settings.timeouts[Timeout.TCP] = 901
    await world.later(1)
    assert world.statuses[told:] == [world.statuses[told - 1]], "each change of theirs is a write of the status"
    (row,) = [row for row in world.status.settings or () if row.reason]
    assert (row.name, row.reason) == ("timeouts.tcpSeconds", "ChangedByOthers")
    await world.later(60)
    assert world.settings.timeouts == CLASSIC
    await world.later(60)
    assert world.condition(DIFFER) is None


async def test_a_restarted_agent_gives_back_what_was_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(CLASSIC_PLAN)
    world.restart()
    await world.do(CLASSIC_PLAN)
    assert world.settings.writes == 1
    world.restart()
    await world.do(director(service(member(100))))
    assert world.settings.timeouts == KERNELS_TIMEOUTS


async def test_a_group_that_can_not_be_read_takes_nothing_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(CLASSIC_PLAN)
    await world.do(with_timeouts(is_complete=False), rounds=2)
    assert world.settings.timeouts == CLASSIC
    await world.do(with_timeouts())
    assert world.settings.timeouts == KERNELS_TIMEOUTS


async def test_cleanup_gives_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(CLASSIC_PLAN)
    assert await clean(world) == ()
    assert world.settings.timeouts == KERNELS_TIMEOUTS
    world.restart()
    await world.do(CLASSIC_PLAN)
    world.settings.available = False
    world.ipvs.clear()
    assert await clean(world) == ()


class Refusing(FakeIpvsSettings):
    """A kernel that takes nothing."""

    refuses = True

    def write_timeouts(self, timeouts: KernelTimeouts) -> None:
        if self.refuses:
            raise SettingRefused("the kernel refused it: Invalid argument")
        super().write_timeouts(timeouts)


class Deaf(FakeIpvsSettings):
    """A kernel that says yes and does nothing."""

    def write_timeouts(self, timeouts: KernelTimeouts) -> None:
        self.writes += bool(timeouts)


async def test_a_refusal_is_told_with_the_kernels_words_and_tried_again_later(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings = refusing = Refusing()
    world.restart()
    await world.do(CLASSIC_PLAN)
    reason, message = world.condition(DIFFER) or ("", "")
    assert reason == "KernelRefused"
    assert "timeouts.udpSeconds: the kernel refused it: Invalid argument" in message
    refusing.refuses = False
    await world.later(1)
    assert world.settings.timeouts == KERNELS_TIMEOUTS
    await world.later(60)
    assert world.settings.timeouts == CLASSIC
    assert world.condition(DIFFER) is None
    refusing.refuses = True
    await world.do(NO_PART)
    assert world.ledger.ledger.settings, "what could not be given back is forgotten"
    refusing.refuses = False
    await world.do(NO_PART)
    assert world.settings.timeouts == KERNELS_TIMEOUTS


async def test_what_is_not_so_after_it_was_written_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings = Deaf()
    world.restart()
    await world.do(with_timeouts(tcp_seconds=30))
    assert world.condition(DIFFER) == ("KernelRefused", "timeouts.tcpSeconds: it is 900 after 30 was written")
    await world.later(1)
    assert world.settings.writes == 1
    assert world.metric("lvs_agent_kernel_writes_total", kind="timeout") == 0


async def test_a_kernel_without_a_protocol_lacks_its_time_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    del world.settings.timeouts[Timeout.UDP]
    await world.do(CLASSIC_PLAN)
    assert world.settings.timeouts == {Timeout.TCP: 30, Timeout.TCP_FIN: 5}
    assert world.condition(DIFFER) == (
        "SettingUnavailable",
        "timeouts.udpSeconds: this node's kernel has no such setting",
    )


async def test_without_ipvs_the_settings_say_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ipvs.available = world.settings.available = False
    await world.do(CLASSIC_PLAN)
    assert (world.condition(DIFFER) or ("",))[0] == "IPVSUnavailable"
    world.ipvs.available = world.settings.available = True
    await world.do(CLASSIC_PLAN)
    assert world.condition(DIFFER) is None


async def test_nothing_is_written_that_could_not_be_remembered(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100))))
    with full_disk():
        await world.do(CLASSIC_PLAN, rounds=2)
        assert world.settings.writes == 0
        assert (world.condition(DIFFER) or ("",))[0] == "StateNotWritten"
    await world.later(20)
    assert world.settings.timeouts == CLASSIC
    assert world.condition(DIFFER) is None
    await world.do(NO_PART)
    assert world.settings.timeouts == KERNELS_TIMEOUTS


async def test_the_report_names_the_groups_generation(tmp_path: Path) -> None:
    world = World(tmp_path)
    (group,) = CLASSIC_PLAN.directing
    await world.do(replace(CLASSIC_PLAN, directing=(replace(group, generation=7),)))
    assert [one.group_generation for one in world.status.director_groups or ()] == [7]


def test_the_plan_as_text_names_them() -> None:
    assert "  timeouts.tcpFinSeconds 5  [LvsDirectorGroup default]" in list(plan_lines(CLASSIC_PLAN))


CONNTRACK, REUSE = SysctlKey(("ipv4", "vs", "conntrack")), SysctlKey(("ipv4", "vs", "conn_reuse_mode"))
SLOPPY = SysctlKey(("ipv4", "vs", "sloppy_tcp"))
BACKUP_ONLY = SysctlKey(("ipv4", "vs", "backup_only"))


def with_sysctls(**values: int) -> NodePlan:
    """The plan of a director with DirectRouting whose group wants these."""
    numbers = {SettingKey("sysctls", name): GroupNumber(value=value, group="default") for name, value in values.items()}
    return replace(director(service(member(100))), settings=NodeSettings(numbers=numbers))


def rows(world: World) -> dict[str, tuple[str, str | None]]:
    return {row.name: (row.value, row.reason) for row in world.status.settings or ()}


async def test_what_services_need_is_set_told_and_given_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sysctls.values[REUSE] = 1
    await world.do(with_sysctls())
    assert world.sysctls.values[REUSE] == 3
    (row,) = world.status.settings or ()
    assert (row.name, row.value) == ("sysctls.connReuseMode", "3")
    assert row.message.startswith("services with DirectRouting or Tunnel")
    await world.do(with_sysctls(conn_reuse_mode=1, sloppy_tcp=1, conntrack=1))
    assert world.sysctls.values[REUSE] == 1
    (row,) = [row for row in world.status.settings or () if row.name == "sysctls.connReuseMode"]
    assert row.message.startswith("LvsDirectorGroup default, instead of 3 for services with DirectRouting")
    await world.do(with_sysctls())
    assert world.sysctls.values[REUSE] == 3
    await world.do(NO_PART)
    assert (world.sysctls.values[REUSE], world.sysctls.values[CONNTRACK]) == (1, 0)


async def test_backup_only_is_off_while_connections_are_synchronized_and_given_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sysctls.values[BACKUP_ONLY] = 1
    await world.do(with_sysctls())
    assert world.sysctls.values[BACKUP_ONLY] == 1, "nobody is told of connections here"
    wish = GroupSync(
        settings=ConnectionSync(interface="eth0", sync_id=7), group="default", roles=frozenset({SyncRole.BACKUP})
    )
    await world.do(replace(with_sysctls(), settings=NodeSettings(sync=wish)))
    assert world.sysctls.values[BACKUP_ONLY] == 0
    assert rows(world)["sysctls.backupOnly"] == ("0", None)
    world.sysctls.values[BACKUP_ONLY] = 1
    await world.later(1)
    assert world.sysctls.values[BACKUP_ONLY] == 0
    assert world.metric("lvs_agent_repairs_total", kind="sysctl") == 1
    world.restart()
    await world.do(with_sysctls())
    assert world.sysctls.values[BACKUP_ONLY] == 1


async def test_what_the_kernel_lacks_is_named_where_a_group_asked_for_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(with_sysctls())
    assert rows(world) == {}, "a need of services that this kernel does not know"
    await world.do(with_sysctls(sloppy_tcp=1, conntrack=1))
    assert world.condition(DIFFER) == (
        "SettingUnavailable",
        "sysctls.sloppyTcp: this node's kernel has no such setting",
    )
    assert rows(world) == {"sysctls.sloppyTcp": ("1", "SettingUnavailable"), "sysctls.conntrack": ("1", None)}
    assert world.sysctls.values[CONNTRACK] == 1


async def test_a_sysctl_that_is_fought_over_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sysctls.values[REUSE] = 1
    await world.do(with_sysctls())
    for expected in (3, 1):
        world.sysctls.values[REUSE] = 1
        await world.later(1)
        assert world.sysctls.values[REUSE] == expected
    reason, message = world.condition(DIFFER) or ("", "")
    assert reason == "ChangedByOthers"
    assert "kube-proxy in ipvs mode" in message
    assert world.metric("lvs_agent_repairs_total", kind="sysctl") == 1


async def test_a_sysctl_that_may_not_be_written_is_told_and_the_others_are(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sysctls.values.update({REUSE: 1, SLOPPY: 0})
    real = world.sysctls.write

    def write(key: SysctlKey, value: int) -> None:
        if key == SLOPPY:
            raise PermissionRefused(f"writing {key}={value}: Read-only file system")
        real(key, value)

    world.sysctls.write = write  # type: ignore[method-assign]  # in place of the fake's own
    await world.do(with_sysctls(sloppy_tcp=1))
    reason, message = world.condition(DIFFER) or ("", "")
    assert (reason, "Read-only" in message) == ("KernelRefused", True)
    assert world.sysctls.values[REUSE] == 3
    assert world.bound() == {"192.168.4.15@eth0"}


async def test_cleanup_gives_sysctls_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sysctls.values[REUSE] = 1
    await world.do(with_sysctls(conntrack=1))
    assert (world.sysctls.values[REUSE], world.sysctls.values[CONNTRACK]) == (3, 1)
    assert await clean(world) == ()
    assert (world.sysctls.values[REUSE], world.sysctls.values[CONNTRACK]) == (1, 0)


class Silent(FakeIpvsSettings):
    """A kernel that does what it is told and answers nothing afterwards."""

    def write_timeouts(self, timeouts: KernelTimeouts) -> None:
        super().write_timeouts(timeouts)
        self.is_silent = True

    is_silent = False

    def read_timeouts(self) -> KernelTimeouts:
        if self.is_silent:
            raise IpvsReadFailed("the settings of IPVS could not be read in 3 tries")
        return super().read_timeouts()


async def test_a_kernel_that_does_not_answer_about_settings_holds_up_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings = silent = Silent()
    world.restart()
    await world.do(with_timeouts(tcp_seconds=30))
    assert world.condition(DIFFER) == ("KernelRefused", "the settings of IPVS could not be read in 3 tries")
    assert world.bound() == {"192.168.4.15@eth0"}
    silent.is_silent = False
    await world.do(with_timeouts(tcp_seconds=30))
    assert world.condition(DIFFER) is None
    await world.do(NO_PART)
    silent.is_silent = False
    assert world.settings.timeouts == KERNELS_TIMEOUTS, "what was there before is forgotten"
