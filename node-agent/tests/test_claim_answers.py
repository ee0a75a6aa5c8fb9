"""A Master hears that a weaker director has told neighbours that an address is there."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import VIP
from vrrp_world import BACKUP, MASTER, SECOND_VIP, VrrpWorld, be_master, second_service, vrrp_plan

from lvs_agent.converge.claim_answers import SPACING_SECONDS, TIMES
from lvs_agent.converge.claimants import LOOK_SECONDS
from lvs_agent.decide.claims import Claim
from lvs_core.plan import NodePlan, OtherDirector

WEAKER, STRONGER, STRANGER = b"\x0a" * 6, b"\x0b" * 6, b"\x0c" * 6
OTHERS = {"weaker": "192.168.4.6", "stronger": "192.168.4.7"}
TOLD = ("eth0", ip_address(VIP))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    made = VrrpWorld(tmp_path)
    for name, mac in (("weaker", WEAKER), ("stronger", STRONGER)):
        made.probe.neighbours["eth0", ip_address(OTHERS[name])] = {mac}
    yield made
    made.lose_supervisor()


def plan(*weaker: str, given: NodePlan | None = None) -> NodePlan:
    """A director of three, of which these are weaker."""
    made = given or vrrp_plan()
    (group,) = made.directing
    assert group.vrrp is not None
    routers = tuple(replace(one, weaker=frozenset(weaker)) for one in group.vrrp.routers)
    others = tuple(OtherDirector(name, (ip_address(address),)) for name, address in OTHERS.items())
    return replace(made, directing=(replace(group, others=others, vrrp=replace(group.vrrp, routers=routers)),))


def claim(world: VrrpWorld, mac: bytes, address: str = VIP) -> None:
    world.claims.come(Claim(ip_address(address), mac))


async def test_neighbours_are_told_again_at_once_and_twice_more(world: VrrpWorld) -> None:
    await be_master(world, plan("weaker"))
    before = world.metrics.announcements._value.get()
    claim(world, WEAKER)
    await world.later(0.1)
    assert world.announcer.sent == [TOLD]
    await world.later(SPACING_SECONDS / 2)
    assert world.announcer.sent == [TOLD]
    for _ in range(5):
        await world.later(SPACING_SECONDS)
    assert world.announcer.sent == TIMES * [TOLD]
    assert world.metrics.announcements._value.get() == before + TIMES
    assert world.status.exceptions == [], "VRRP settles it: that is no conflict"


async def test_claims_that_go_on_are_answered_once_a_second(world: VrrpWorld) -> None:
    await be_master(world, plan("weaker"))
    for _ in range(50):
        claim(world, WEAKER)
        await world.later(SPACING_SECONDS / 10)
    assert 4 <= len(world.announcer.sent) <= 6
    world.announcer.sent.clear()
    for _ in range(5):
        await world.later(SPACING_SECONDS)
    assert len(world.announcer.sent) == TIMES, "neighbours hear it after the last of them, too"


@pytest.mark.parametrize("mac", [STRONGER, STRANGER])
async def test_nobody_else_is_answered(world: VrrpWorld, mac: bytes) -> None:
    """The stronger one is to have the address. A stranger is found by asking, and answered each 10 s."""
    await be_master(world, plan("weaker"))
    claim(world, mac)
    for _ in range(4):
        await world.later(SPACING_SECONDS)
    assert world.announcer.sent == []


async def test_all_addresses_of_the_virtual_router_are_told(world: VrrpWorld) -> None:
    """Claims get lost, too, and the Backup has taken all."""
    await be_master(world, plan("weaker", given=vrrp_plan(*vrrp_plan().directing[0].services, second_service())))
    world.carry(SECOND_VIP)
    claim(world, WEAKER, SECOND_VIP)
    await world.later(0.1)
    assert set(world.announcer.sent) == {TOLD, ("eth0", ip_address(SECOND_VIP))}


async def test_a_director_is_known_by_its_mac_address_where_it_did_not_answer_the_last_time(world: VrrpWorld) -> None:
    await be_master(world, plan("weaker"))
    del world.probe.neighbours["eth0", ip_address(OTHERS["weaker"])]
    await world.later(LOOK_SECONDS)
    claim(world, WEAKER)
    await world.later(0.1)
    assert world.announcer.sent == [TOLD]


async def test_who_lets_go_says_nothing_more(world: VrrpWorld) -> None:
    await be_master(world, plan("weaker"))
    claim(world, WEAKER)
    await world.later(0.1)
    world.say(BACKUP)
    for _ in range(4):
        await world.later(SPACING_SECONDS)
    assert world.announcer.sent == [TOLD]
    assert world.claims.addresses == frozenset(), "a Backup listens to nothing"
    world.say(MASTER)
    await world.later(SPACING_SECONDS)
    assert world.announcer.sent == [TOLD], "who takes it again tells neighbours by itself"


async def test_what_has_just_been_let_go_is_not_claimed(world: VrrpWorld) -> None:
    """Whether the daemon has said so by then or not."""
    await be_master(world, plan("weaker"))
    world.links.addresses = {one for one in world.links.addresses if str(one.address) != VIP}
    claim(world, WEAKER)
    await world.later(0.1)
    assert world.announcer.sent == []


async def test_the_weakest_listens_to_nothing(world: VrrpWorld) -> None:
    await be_master(world, plan())
    assert world.claims.addresses == frozenset()


async def test_what_can_not_be_sent_ends_nothing(world: VrrpWorld) -> None:
    await be_master(world, plan("weaker"))
    world.announcer.silent_devices = frozenset({"eth0"})
    claim(world, WEAKER)
    await world.later(0.1)
    world.announcer.silent_devices = frozenset()
    await world.later(SPACING_SECONDS)
    assert world.announcer.sent == [TOLD]
