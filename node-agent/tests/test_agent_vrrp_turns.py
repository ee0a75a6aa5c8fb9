"""Rounds in which the agent and the VRRP daemon take addresses over from one another."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NO_PART, VIP, director, member, service
from vrrp_world import BACKUP, MASTER, ROUTER, SINCE, VrrpWorld, second_service, vrrp_plan

from lvs_agent.decide.kernel_state import AddressBinding
from lvs_agent.decide.virtual_routers import DaemonWord, RouterWord
from lvs_agent.vrrp.shared_directory import digest_of
from lvs_core.plan import NodePlan


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    yield made
    made.lose_supervisor()


async def test_the_daemon_takes_over_what_the_agent_has_bound(world: VrrpWorld) -> None:
    await world.do(director(service(member(100))))
    assert world.bound() == {f"{VIP}@eth0"}
    await world.do(vrrp_plan(), rounds=2)
    assert world.bound() == {f"{VIP}@eth0"}
    assert len(world.ledger.ledger.bindings) == 1
    writes = world.writes()
    world.say(MASTER)
    await world.later(1)
    assert world.writes() == writes
    assert (world.bound(), world.ledger.ledger.bindings, world.holds) == ({f"{VIP}@eth0"}, frozenset(), True)


async def test_the_agent_lets_go_where_another_director_carries_it(world: VrrpWorld) -> None:
    await world.do(director(service(member(100))))
    await world.do(vrrp_plan())
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    routers = {ROUTER: RouterWord(BACKUP, SINCE)}
    world.supervise()
    # Of a configuration from before nothing follows for these addresses.
    world.vrrp.write_word(DaemonWord(accepted="another", pid=1, routers=routers))
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}
    world.vrrp.write_word(DaemonWord(accepted=digest_of(wanted), pid=1, routers=routers))
    await world.later(1)
    assert (world.bound(), world.holds) == (set(), False)


async def test_the_agent_takes_back_what_the_daemon_carried(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    await world.later(1)
    await world.do(director(service(member(100))))
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert wanted.is_empty
    assert (world.bound(), len(world.ledger.ledger.bindings)) == ({f"{VIP}@eth0"}, 1)
    assert (world.status.exceptions or []) == []
    # The daemon ends, and takes away what it has put there.
    world.links.addresses = {one for one in world.links.addresses if str(one.address) != VIP}
    world.vrrp.write_word(DaemonWord(accepted=digest_of(wanted)))
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.vrrp.read_tracks() == {}


@pytest.mark.parametrize("after", [NO_PART, vrrp_plan(second_service())], ids=["no part", "another service"])
async def test_a_service_goes_after_its_address(world: VrrpWorld, after: NodePlan) -> None:
    """An address without its services refuses clients; the daemon takes a moment to let it go."""
    await world.do(vrrp_plan(service(member(100)), second_service()))
    world.say(MASTER)
    world.vrrp.write_bound(frozenset({AddressBinding(address=ip_address(VIP), device="eth0")}))
    await world.later(1)
    before = world.table(VIP)
    assert before
    await world.do(after)
    wanted = world.vrrp.read_wanted()
    assert wanted is not None
    assert VIP not in {str(one.address) for one in wanted.binds}
    assert world.table(VIP) == before
    await world.later(1)
    assert world.table(VIP) == before
    world.links.addresses = {one for one in world.links.addresses if str(one.address) != VIP}
    await world.later(1)
    assert world.table(VIP) == {}


async def test_a_service_does_not_wait_for_a_daemon_that_is_no_more(world: VrrpWorld) -> None:
    await world.do(vrrp_plan())
    world.say(MASTER)
    world.vrrp.write_bound(frozenset({AddressBinding(address=ip_address(VIP), device="eth0")}))
    world.lose_supervisor()
    await world.do(NO_PART)
    assert world.table(VIP) == {}
