"""Rounds of a director whose addresses the VRRP daemon carries: what it is told, and who binds what."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from agent_world import GROUP, NO_PART, VIP, director, full_disk, member, real_server, service
from vrrp_world import BACKUP, FAULT, MASTER, ROUTER, SECOND_VIP, SINCE, VrrpWorld, second_service, vrrp_plan

from lvs_agent.converge.virtual_routers import PATIENCE_SECONDS
from lvs_agent.decide.heard_adverts import Sender
from lvs_agent.decide.kernel_state import Route, RouteKind
from lvs_agent.decide.stored_plan import provisional
from lvs_agent.serve.plan_text import plan_lines
from lvs_agent.vrrp.shared_directory import digest_of
from lvs_api.conditions import ConditionType, Reason
from lvs_api.lvs_node import VirtualRouterReport
from lvs_api.network_types import Family, ForwardingMethod, Scheduler
from lvs_core.plan import DirectorPlan, Holding
from lvs_core.vrrp import VirtualRouter


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    yield made
    made.lose_supervisor()


async def test_the_daemon_is_told_and_carries_and_the_agent_binds_nothing(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert "virtual_router_id 55" in wanted.text
    assert (world.may_carry, world.bound(), world.holds) == (True, set(), False)
    assert world.router.state is FAULT
    world.say(MASTER)
    await world.later(1)
    assert (world.bound(), world.holds, world.status.exceptions) == ({f"{VIP}@eth0"}, True, [])
    assert world.router == VirtualRouterReport(id=55, family=Family.IPV4, state=MASTER, since=SINCE)
    assert world.announcer.sent == []
    assert world.ledger.ledger.bindings == frozenset()
    writes = world.writes()
    await world.later(1)
    assert world.writes() == writes
    world.say(BACKUP)
    await world.later(1)
    assert (world.bound(), world.holds, world.router.state) == (set(), False, BACKUP)


async def test_what_the_daemon_carries_is_no_address_of_the_director_s_own(world: VrrpWorld) -> None:
    """Also where it wraps packets from there: no other director could take what is called this one's own."""
    world.links.routes[ip_address("192.168.4.100")] = Route(
        kind=RouteKind.UNICAST, device="eth0", source=ip_address(VIP)
    )
    await world.do(vrrp_plan(service(member(100, method=ForwardingMethod.TUNNEL))))
    assert world.status.own_addresses == ["192.168.4.5"]
    world.say(MASTER)
    await world.later(1)
    assert (world.holds, world.status.own_addresses) == (True, ["192.168.4.5"])


async def test_by_a_view_from_disk_no_virtual_router_is_begun(world: VrrpWorld) -> None:
    """It may be old; the virtual servers are made all the same."""
    await world.do(provisional(vrrp_plan()), rounds=2)
    assert (world.vrrp.read_wanted(), world.may_carry) == (None, None)
    assert world.table(VIP).keys() == {f"TCP {VIP}:80"}
    await world.do(vrrp_plan())
    assert world.may_carry is True


async def test_a_service_in_trouble_does_not_keep_the_address_from_the_others(world: VrrpWorld) -> None:
    world.ipvs.schedulers = frozenset({"rr"})
    await world.do(vrrp_plan(service(member(100)), second_service(scheduler=Scheduler.MH)))
    assert world.may_carry is True
    assert world.exception().reason == "SchedulerUnavailable"


async def test_addresses_of_which_nothing_is_served_are_not_carried(world: VrrpWorld) -> None:
    world.ipvs.schedulers = frozenset()
    await world.do(vrrp_plan())
    assert world.may_carry is False
    world.say(FAULT)
    await world.later(1)
    assert world.router.state is FAULT
    assert "scheduler" in (world.router.message or "")
    world.ipvs.schedulers = frozenset({"rr"})
    await world.later(120)
    assert world.may_carry is True


async def test_without_ipvs_nothing_is_carried(world: VrrpWorld) -> None:
    world.ipvs.available = False
    await world.do(vrrp_plan())
    assert world.may_carry is False


async def test_a_refused_address_is_not_carried(world: VrrpWorld) -> None:
    world.links.gateways.add(ip_address(VIP))
    await world.do(vrrp_plan())
    assert world.may_carry is False
    world.say(FAULT)
    await world.later(1)
    assert "next hop" in (world.router.message or "")
    world.links.gateways.clear()
    await world.do(vrrp_plan(), rounds=2)
    assert world.may_carry is True


async def test_a_refused_address_keeps_no_other_from_being_carried(world: VrrpWorld) -> None:
    world.links.gateways.add(ip_address(SECOND_VIP))
    await world.do(vrrp_plan(service(member(100)), second_service()))
    assert world.may_carry is True
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert {str(one.address) for one in wanted.binds} == {VIP}
    assert SECOND_VIP not in wanted.text
    assert world.exception().reason == "AddressRefused"
    world.links.gateways.clear()
    await world.do(vrrp_plan(service(member(100)), second_service()), rounds=2)
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert {str(one.address) for one in wanted.binds} == {VIP, SECOND_VIP}


async def test_a_packet_filter_that_fails_moves_no_address(world: VrrpWorld) -> None:
    """The Master's rules may be there still, and another director may be no better off. A Backup takes nothing on."""
    behind = replace(member(100), method=ForwardingMethod.MASQUERADE, source_nat=True)
    await world.do(vrrp_plan(service(behind)))
    world.say(MASTER)
    await world.later(1)
    world.packet_filter.is_there = False
    world.packet_filter.change(None)
    for _ in range(3):
        await world.later(1)
    assert [one.reason for one in world.status.exceptions or ()] == [Reason.SOURCE_NAT_NOT_SET]
    assert world.may_carry is True
    world.say(BACKUP)
    await world.later(1)
    assert world.may_carry is False


async def test_a_track_file_goes_after_its_virtual_router(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.do(NO_PART)
    assert world.may_carry is True
    world.say(None)
    await world.later(1)
    assert world.may_carry is None
    assert world.status.director_groups == []


@pytest.mark.parametrize("plan", [vrrp_plan, lambda: director(service(member(100)), holding=Holding.KEEP)])
async def test_by_a_view_that_is_old_or_not_whole_nothing_is_told(world: VrrpWorld, plan: Any) -> None:
    await world.do(vrrp_plan())
    told = world.vrrp.read_wanted()
    group = plan().directing[0]
    if group.holding is Holding.VRRP:
        await world.do(replace(NO_PART, directing=(replace(group, holding=Holding.KEEP),), provisional=True))
    else:
        await world.do(plan())
    assert world.vrrp.read_wanted() == told
    assert world.may_carry is True


async def test_the_last_master_goes_on_and_says_so_while_nothing_else_is_known(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.later(1)
    for _ in range(2):
        await world.do(director(service(member(100)), holding=Holding.KEEP))
        assert (world.router.state, world.holds, world.bound()) == (MASTER, True, {f"{VIP}@eth0"})
        world.restart()


async def test_a_director_that_stops_says_what_it_does_until_the_daemon_has_let_go(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(BACKUP)
    await world.later(1)
    await world.do(director(service(member(100)), holding=Holding.RELEASE))
    assert world.router.state is BACKUP
    world.say(None)
    await world.later(1)
    (group,) = world.status.director_groups or ()
    assert group.virtual_routers is None


async def test_a_group_that_can_not_be_read_holds_up_no_other(world: VrrpWorld) -> None:
    """What was told of it stands meanwhile, and others change as they are to."""
    (first,) = vrrp_plan().directing
    assert first.vrrp is not None
    (router,) = first.vrrp.routers
    own = VirtualRouter(id=56, family=Family.IPV4, priority=99, addresses=(ip_address(SECOND_VIP),))
    second = replace(vrrp_plan(second_service()).directing[0], group="second", vrrp=replace(first.vrrp, routers=(own,)))
    lost = replace(second, holding=Holding.KEEP, vrrp=None)
    changed = replace(first, vrrp=replace(first.vrrp, routers=(replace(router, priority=99),)))

    async def told(*groups: DirectorPlan) -> list[str]:
        await world.do(replace(vrrp_plan(), directing=groups))
        wanted = world.vrrp.read_wanted()
        assert wanted is not None
        return [
            line.strip() for line in wanted.text.splitlines() if line.split()[:1] in (["priority"], ["vrrp_instance"])
        ]

    one, other = f"vrrp_instance {ROUTER} {{", "vrrp_instance second.56v4 {"
    assert await told(first, lost) == [one, "priority 150"], "it has told nothing yet"
    assert await told(first, second) == [one, "priority 150", other, "priority 99"]
    assert await told(changed, lost) == [one, "priority 99", other, "priority 99"]
    world.restart()
    assert await told(first, lost) == [one, "priority 99", other, "priority 99"], "another process has told it"
    assert await told(first, second) == [one, "priority 150", other, "priority 99"]
    assert await told(first) == [one, "priority 150"]


async def test_an_agent_that_starts_again_writes_nothing(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.later(1)
    mark, writes = world.vrrp.wanted_mark(), world.writes()
    world.restart()
    await world.do(vrrp_plan())
    assert (world.vrrp.wanted_mark(), world.writes()) == (mark, writes)
    assert (world.router.state, world.holds, world.may_carry) == (MASTER, True, True)


async def test_an_agent_that_starts_without_a_part_lets_the_daemon_end(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.later(1)
    world.restart()
    await world.do(NO_PART)
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert wanted.is_empty


async def test_a_node_without_vrrp_has_no_directory_for_it(world: VrrpWorld) -> None:
    await world.do(director(service(member(100))))
    await world.do(NO_PART, rounds=2)
    assert not world.vrrp.path.exists()


async def test_a_director_that_is_a_real_server_too_is_in_no_conflict_with_itself(world: VrrpWorld) -> None:
    made = vrrp_plan()
    group = replace(made.directing[0], own_addresses=(ip_address("192.168.4.5"),))
    await world.do(replace(made, directing=(group,), bind=real_server(VIP).bind), rounds=2)
    world.say(MASTER)
    world.carry(VIP)
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0", f"{VIP}@lo"}
    assert (world.status.exceptions or []) == []


async def test_a_daemon_that_does_not_run_is_told_after_a_while(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    assert world.condition(ConditionType.FAILOVER_IMPAIRED) is None
    await world.later(PATIENCE_SECONDS)
    reason, message = world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", "")
    assert reason == "VrrpDown"
    assert "lvs-agent vrrp" in message
    world.say(None, pid=None, accepted=None, trouble="keepalived ended by itself, with 1")
    await world.later(1)
    assert "ended by itself" in (world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", ""))[1]
    world.say(MASTER)
    await world.later(1)
    assert world.condition(ConditionType.FAILOVER_IMPAIRED) is None
    world.lose_supervisor()
    await world.later(1)
    assert (world.router.state, world.holds) == (FAULT, False), "it is not known to be Master any more"
    await world.later(PATIENCE_SECONDS)
    assert "lvs-agent vrrp" in (world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", ""))[1]


async def test_a_refused_configuration_is_told_at_once(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    world.say(None, refused=digest_of(wanted), refusal="Unknown keyword", accepted="older")
    await world.later(1)
    reason, message = world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", "")
    assert (reason, "Unknown keyword" in message) == ("VrrpConfigRejected", True)


async def test_a_text_that_the_configuration_can_not_hold_is_told(world: VrrpWorld) -> None:
    await world.do(vrrp_plan(version=2, password="a b"))
    reason, message = world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", "")
    assert (reason, "password" in message) == ("VrrpConfigRejected", True)
    assert world.vrrp.read_wanted() is None


async def test_a_fault_names_the_device_that_is_down(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.links.devices["eth0"] = replace(world.links.devices["eth0"], carrier=False)
    world.say(FAULT)
    await world.later(1)
    assert world.router.message == "network device eth0 is without a carrier"


async def test_a_damaged_word_is_written_anew(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    told = world.vrrp.read_wanted()
    (world.vrrp.path / "wanted").write_text("no", encoding="ascii")
    world.restart()
    await world.do(vrrp_plan())
    assert world.vrrp.read_wanted() == told


async def test_a_full_disk_is_told_and_nothing_may_be_carried_by_mistake(world: VrrpWorld) -> None:
    with full_disk():
        await world.do(vrrp_plan())
    assert (world.condition(ConditionType.FAILOVER_IMPAIRED) or ("", ""))[0] == "StateNotWritten"
    assert (world.vrrp.read_wanted(), world.may_carry) == (None, None)
    await world.later(1)
    assert world.may_carry is True


def test_the_plan_as_text_names_the_virtual_routers() -> None:
    assert f"    virtual router 55 IPv4 priority 150: {VIP}" in list(plan_lines(vrrp_plan()))


async def test_the_metrics_tell_states_and_changes(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER, restarts=3)
    await world.later(1)
    labels = {"group": GROUP, "id": "55", "family": "IPv4"}
    assert world.metric("lvs_agent_virtual_router_state", state="Master", **labels) == 1
    assert world.metric("lvs_agent_virtual_router_state", state="Backup", **labels) == 0
    assert world.metric("lvs_agent_virtual_router_changes_total", **labels) == 1
    assert world.metric("lvs_agent_vrrp_restarts_total") == 3


async def test_others_that_send_adverts_of_its_virtual_router_on_its_link_are_told(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    heard = [("eth0", 55, "192.168.4.66"), ("eth0", 56, "192.168.4.67"), ("eth1", 55, "192.168.4.68")]
    world.say(MASTER, senders=frozenset(Sender(device, number, IPv4Address(one)) for device, number, one in heard))
    await world.later(1)
    assert world.router.heard_from == ["192.168.4.66"]
    world.say(MASTER)
    await world.later(1)
    assert world.router.heard_from is None
