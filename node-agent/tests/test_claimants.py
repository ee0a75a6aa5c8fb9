"""Who else answers for the address of a virtual router: before a director takes part, and while it is Master."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from agent_world import VIP, director, member, service
from vrrp_world import BACKUP, MASTER, ROUTER, SECOND_VIP, VrrpWorld, be_master, on_link, second_service, vrrp_plan

from lvs_agent.converge.claimants import AGAIN_SECONDS, FIRST_LOOK_SECONDS, LOOK_SECONDS, RETRY_SECONDS
from lvs_agent.converge.link_questions import LinkQuestions
from lvs_agent.decide.claimants import DEFEND_SECONDS
from lvs_agent.decide.heard_adverts import Manner, Sender
from lvs_agent.decide.kernel_state import InterfaceAddress, IPAddress
from lvs_agent.decide.stored_plan import by_stored_view, provisional
from lvs_agent.kernel.fake_neighbours import FakeDuplicateProbe
from lvs_api.conditions import Reason
from lvs_api.network_types import ForwardingMethod, Protocol
from lvs_core.plan import NodePlan, OtherDirector, PlannedService, VirtualServerKey

STRANGER, THEIRS, SERVER = b"\x0a" * 6, b"\x0b" * 6, b"\x0c" * 6
OTHER = "192.168.4.6"
OLD: dict[str, Any] = {"version": 2, "advert_interval_milliseconds": 2000, "password": "1111"}
SPOKEN = frozenset({Sender("eth0", ROUTER.id, IPv4Address(OTHER))})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VrrpWorld]:
    with on_link(tmp_path, {OTHER: THEIRS, "192.168.4.100": SERVER}) as made:
        yield made


def plan(*services: PlannedService, **changes: Any) -> NodePlan:
    """A director of two."""
    made = vrrp_plan(*services, **changes)
    (group,) = made.directing
    return replace(made, directing=(replace(group, others=(OtherDirector("two", (ip_address(OTHER),)),)),))


def with_network(made: NodePlan, *macs: bytes) -> NodePlan:
    """The network answers for others with these."""
    (group,) = made.directing
    return replace(made, directing=(replace(group, ignored_answers=frozenset(macs)),))


def answer(world: VrrpWorld, *macs: bytes, address: str = VIP) -> None:
    """From now on exactly these answer."""
    world.probe.neighbours["eth0", ip_address(address)] = set(macs)


def questions(world: VrrpWorld, address: str = VIP) -> int:
    return sum(ip_address(address) in addresses for _, addresses in world.probe.asked)


async def test_what_nobody_has_is_taken_once_the_link_was_asked(world: VrrpWorld) -> None:
    world.source.plan = plan()
    await world.agent.round()
    assert (world.may_carry, world.claimants.is_asking) == (False, True)
    await world.do(plan())
    assert (world.may_carry, questions(world)) == (True, 1)


async def test_a_director_that_asks_at_the_same_moment_keeps_nobody_away(world: VrrpWorld) -> None:
    """Two that boot together; VRRP settles it."""
    world.probe.askers["eth0", ip_address(VIP)] = {THEIRS}
    await world.do(plan())
    assert world.may_carry is True


async def test_a_stranger_before_the_first_claim(world: VrrpWorld) -> None:
    answer(world, STRANGER)
    await world.do(plan())
    assert (world.may_carry, world.status.exceptions) == (False, [])
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    told = world.exception()
    assert (told.reason, told.programmed) == (Reason.ADDRESS_CONFLICT, False)
    assert STRANGER.hex(":") in told.message
    assert world.announcer.sent == []
    asked = questions(world)
    await world.later(RETRY_SECONDS / 2)
    assert questions(world) == asked
    answer(world)
    await world.later(RETRY_SECONDS / 2)
    assert (world.may_carry, world.status.exceptions) == (True, [])


async def test_the_network_that_answers_for_others_keeps_nobody_away(world: VrrpWorld) -> None:
    """By the view from the disk neither, and where it answers for the other director, too."""
    answer(world, STRANGER)
    answer(world, STRANGER, address=OTHER)
    await world.do(by_stored_view(plan()))
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    await world.do(by_stored_view(with_network(plan(), STRANGER)))
    await world.later(RETRY_SECONDS)
    await world.later(0)
    assert (world.may_carry, world.status.exceptions) == (True, [])


async def test_a_stranger_beside_the_network_that_answers_for_others_does(world: VrrpWorld) -> None:
    network = b"\x0e" * 6
    answer(world, STRANGER, network)
    await world.do(with_network(plan(), network))
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    message = world.exception().message
    assert (STRANGER.hex(":") in message, network.hex(":") in message) == (True, False)
    assert "name it in spec.ignoreAnswersFrom of the LvsDirectorGroup" in message


async def test_a_master_is_told_of_no_conflict_with_the_network_that_answers_for_others(world: VrrpWorld) -> None:
    given = plan()
    await be_master(world, given)
    answer(world, STRANGER)
    await world.later(LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert "spec.ignoreAnswersFrom" in world.exception().message
    await world.do(with_network(given, STRANGER))
    world.announcer.sent.clear()
    for _ in range(3):
        await world.later(LOOK_SECONDS)
    assert (world.status.exceptions, world.announcer.sent) == ([], [])


async def test_with_somebody_heard_a_stranger_keeps_no_backup_away(world: VrrpWorld) -> None:
    """Of several machines that answer one speaks; it may be one that is not known by this MAC address."""
    answer(world, STRANGER)
    await world.do(plan())
    world.say(None, senders=SPOKEN)
    await world.later(0)
    assert world.may_carry is True


async def test_another_director_keeps_nobody_away(world: VrrpWorld) -> None:
    answer(world, THEIRS)
    await world.do(plan())
    assert world.may_carry is True


async def test_a_real_server_keeps_nobody_away(world: VrrpWorld) -> None:
    answer(world, SERVER)
    await world.do(plan())
    assert world.may_carry is False
    await world.later(AGAIN_SECONDS)
    assert (world.may_carry, world.status.exceptions) == (True, [])


async def test_by_the_stored_view_what_nobody_has_is_taken(world: VrrpWorld) -> None:
    """All directors have lost their power, and the API server is away."""
    await world.do(provisional(plan()), rounds=2)
    assert (world.vrrp.read_wanted(), questions(world)) == (None, 0)
    await world.do(by_stored_view(plan()))
    assert world.may_carry is True
    world.say(MASTER)
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}
    # The API server is back, and says the same.
    writes, asked = world.writes(), questions(world)
    await world.do(plan())
    assert (world.may_carry, world.writes(), questions(world)) == (True, writes, asked)
    assert world.holds is True


@pytest.mark.parametrize("mac", [THEIRS, STRANGER])
async def test_by_the_stored_view_nothing_is_taken_from_anybody(world: VrrpWorld, mac: bytes) -> None:
    """A director of the group, too, may carry it without VRRP by now."""
    answer(world, mac)
    await world.do(by_stored_view(plan()))
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    world.say(None)
    await world.later(RETRY_SECONDS)
    assert world.may_carry is False
    answer(world)
    await world.later(RETRY_SECONDS)
    assert world.may_carry is True


async def test_by_the_stored_view_a_director_is_the_backup_of_who_speaks(world: VrrpWorld) -> None:
    answer(world, THEIRS)
    await world.do(by_stored_view(plan()))
    world.say(None, senders=frozenset({Sender("eth0", 56, IPv4Address(OTHER)), Sender("eth1", 55, IPv4Address(OTHER))}))
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    world.say(None, senders=SPOKEN)
    await world.later(0)
    assert world.may_carry is True
    world.say(BACKUP, senders=SPOKEN)
    await world.later(1)
    assert world.router.state is BACKUP


async def test_by_the_stored_view_who_speaks_otherwise_keeps_no_backup(world: VrrpWorld) -> None:
    """The group has another password by now: as Backup of whom it does not heed it would be Master at once."""
    answer(world, THEIRS)
    await world.do(by_stored_view(plan(**OLD)))
    for manner in (Manner(2, by_multicast=True, interval_seconds=2, password="2222"), Manner(3, by_multicast=True)):
        world.say(None, senders=frozenset({Sender("eth0", ROUTER.id, IPv4Address(OTHER), manner)}))
        await world.later(AGAIN_SECONDS)
        assert world.may_carry is False
    manner = Manner(2, by_multicast=True, interval_seconds=2, password="1111")
    world.say(None, senders=frozenset({Sender("eth0", ROUTER.id, IPv4Address(OTHER), manner)}))
    await world.later(0)
    assert world.may_carry is True


async def test_by_the_stored_view_nobody_is_preempted(world: VrrpWorld) -> None:
    answer(world, THEIRS)
    given = plan(preempt_delay_seconds=0)
    await world.do(by_stored_view(given))
    world.say(None, senders=SPOKEN)
    await world.later(AGAIN_SECONDS)
    await world.later(RETRY_SECONDS)
    assert world.may_carry is False
    await world.do(given)
    assert world.may_carry is True


async def test_an_agent_that_is_restarted_asks_nobody_before_it_goes_on(world: VrrpWorld) -> None:
    await world.do(plan())
    world.say(BACKUP)
    await world.later(1)
    asked = questions(world)
    answer(world, THEIRS)
    world.restart()
    await world.do(by_stored_view(plan()), rounds=2)
    assert (world.may_carry, questions(world)) == (True, asked)


async def test_who_carries_the_address_when_vrrp_begins_asks_nobody_before_it_goes_on(world: VrrpWorld) -> None:
    await world.do(director(service(member(100))), rounds=3)
    assert world.bound() == {f"{VIP}@eth0"}
    asked = questions(world)
    answer(world, STRANGER)
    await world.do(plan())
    assert (world.may_carry, questions(world)) == (True, asked)


async def test_a_link_that_is_down_is_waited_for(world: VrrpWorld) -> None:
    world.probe.down_devices = {"eth0"}
    await world.do(plan())
    assert world.may_carry is False
    assert not world.claimants.is_asking
    world.probe.down_devices = set()
    await world.later(AGAIN_SECONDS / 2)
    assert questions(world) == 0
    await world.later(AGAIN_SECONDS / 2)
    assert world.may_carry is True


async def test_the_link_of_another_device_that_is_down_keeps_no_address_away(world: VrrpWorld) -> None:
    world.links.add_device("eth1")
    world.links.addresses.add(InterfaceAddress(device="eth1", address=ip_address("192.168.5.5"), prefix_length=24))
    world.probe.down_devices = {"eth1"}
    beside = VirtualServerKey(address=ip_address("192.168.5.15"), port=80, protocol=Protocol.TCP)
    given = plan(service(member(100)), service(member(101), key=beside))
    given = replace(given, directing=tuple(replace(one, interface=None) for one in given.directing))
    answer(world, STRANGER)
    await world.do(given)
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    answer(world)
    await world.later(RETRY_SECONDS)
    assert world.may_carry is True


async def test_another_address_meanwhile_is_asked_for_before_it_is_taken(world: VrrpWorld) -> None:
    """Nobody answers for it, for nobody was asked."""
    answer(world, STRANGER)
    answer(world, STRANGER, address=SECOND_VIP)
    await world.do(plan())
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    await world.do(plan(second_service()))
    assert (world.may_carry, questions(world, SECOND_VIP)) == (False, 1)
    await world.later(AGAIN_SECONDS)
    assert SECOND_VIP in world.exception().message
    answer(world, address=SECOND_VIP)
    await world.later(RETRY_SECONDS)
    assert world.may_carry is True


async def test_a_master_finds_a_stranger_and_defends_the_address_now_and_then(world: VrrpWorld) -> None:
    await be_master(world, plan())
    answer(world, STRANGER)
    await world.later(LOOK_SECONDS)
    assert (world.status.exceptions, world.announcer.sent) == ([], [])
    await world.later(AGAIN_SECONDS)
    told = world.exception()
    assert (told.reason, told.programmed) == (Reason.ADDRESS_CONFLICT, False)
    assert STRANGER.hex(":") in told.message
    defence = [("eth0", ip_address(VIP))]
    assert (world.announcer.sent, world.may_carry, world.holds) == (defence, True, True)
    for _ in range(9):
        await world.later(DEFEND_SECONDS / 10)
        assert world.announcer.sent == defence
    await world.later(DEFEND_SECONDS / 10)
    assert world.announcer.sent == 2 * defence
    answer(world)
    await world.later(LOOK_SECONDS)
    assert (world.status.exceptions, world.announcer.sent) == ([], 2 * defence)


async def test_a_master_takes_a_stranger_that_speaks_for_no_director(world: VrrpWorld) -> None:
    """The group says ForeignVrrp of it, too."""
    await be_master(world, plan())
    speaker = IPv4Address("192.168.4.77")
    world.say(MASTER, senders=frozenset({Sender("eth0", ROUTER.id, speaker)}))
    answer(world, STRANGER)
    answer(world, STRANGER, address=str(speaker))
    await world.later(LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert world.exception().message.startswith(STRANGER.hex(":"))


async def test_who_is_master_again_defends_no_sooner(world: VrrpWorld) -> None:
    await be_master(world, plan())
    answer(world, STRANGER)
    await world.later(LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert len(world.announcer.sent) == 1
    world.say(BACKUP)
    await world.later(0)
    assert world.status.exceptions == []
    world.say(MASTER)
    await world.later(0)
    await world.later(FIRST_LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert world.exception().reason == Reason.ADDRESS_CONFLICT
    assert len(world.announcer.sent) == 1


async def test_a_moment_of_two_is_no_conflict(world: VrrpWorld) -> None:
    await be_master(world, plan())
    answer(world, STRANGER)
    await world.later(LOOK_SECONDS)
    answer(world)
    await world.later(AGAIN_SECONDS)
    assert (world.status.exceptions, world.announcer.sent) == ([], [])


async def test_a_master_names_the_real_server_that_answers(world: VrrpWorld) -> None:
    await be_master(world, plan(service(member(100, node="worker-1"), member(101))))
    assert questions(world, "192.168.4.100") == 0
    answer(world, SERVER)
    await world.later(LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    told = world.exception()
    assert (told.reason, told.programmed) == (Reason.ADDRESS_CONFLICT, False)
    assert told.message.startswith(f"real server rs100 on Node worker-1 ({SERVER.hex(':')}) answers for {VIP}")
    assert len(world.announcer.sent) == 1
    answer(world, SERVER, STRANGER)
    await world.later(LOOK_SECONDS)
    assert world.exception().message.startswith(STRANGER.hex(":"))


async def test_a_real_server_by_masquerade_has_no_right_to_the_address(world: VrrpWorld) -> None:
    await be_master(world, plan(service(member(100, method=ForwardingMethod.MASQUERADE))))
    answer(world, SERVER)
    await world.later(LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert world.exception().message.startswith(SERVER.hex(":"))


async def test_another_director_beside_a_master_is_no_stranger(world: VrrpWorld) -> None:
    """The group says SplitBrain."""
    await be_master(world, plan())
    answer(world, THEIRS)
    await world.later(LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert (world.status.exceptions, world.announcer.sent) == ([], [])


async def test_only_the_services_of_the_address_are_told(world: VrrpWorld) -> None:
    given = plan(service(member(100)), second_service())
    await be_master(world, given)
    answer(world, STRANGER, address=SECOND_VIP)
    await world.later(LOOK_SECONDS)
    await world.later(AGAIN_SECONDS)
    assert SECOND_VIP in world.exception().message
    assert world.announcer.sent == [("eth0", ip_address(SECOND_VIP))]


async def test_who_is_known_is_asked_by_no_probe(world: VrrpWorld) -> None:
    """It may be booting, and would leave its own address off for that."""
    answer(world, STRANGER)
    await world.do(plan(service(member(100))))
    await world.later(AGAIN_SECONDS)
    assert (questions(world, OTHER), questions(world, "192.168.4.100")) == (2, 1)
    assert world.probe.probed == {("eth0", ip_address(VIP))}


async def test_a_backup_asks_nobody(world: VrrpWorld) -> None:
    await world.do(plan())
    world.say(BACKUP)
    asked = questions(world)
    for _ in range(3):
        await world.later(LOOK_SECONDS)
    assert questions(world) == asked


async def test_questions_under_way_end_with_the_agent(world: VrrpWorld) -> None:
    begun = asyncio.Event()

    class Slow(FakeDuplicateProbe):
        async def ask(self, *_: object, **__: object) -> dict[IPAddress, frozenset[bytes]]:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

    world.claimants._questions = LinkQuestions(Slow())
    world.source.plan = plan()
    await world.agent.round()
    await begun.wait()
    assert world.claimants.is_asking
    (watch,) = world.claimants._watches.values()
    await world.claimants.close()
    assert watch.question is not None
    assert watch.question.task.cancelled()


def many_services() -> list[PlannedService]:
    """Of as many addresses."""
    keys = (
        VirtualServerKey(address=ip_address(f"192.168.5.{n}"), port=80, protocol=Protocol.TCP) for n in range(1, 101)
    )
    return [service(member(100), key=key) for key in keys]


async def test_many_addresses_are_asked_for_more_rarely(world: VrrpWorld) -> None:
    """Three frames each, and ten frames a second."""
    given = plan(*many_services())
    await world.do(given)
    world.say(MASTER)
    await world.later(0)
    await world.later(FIRST_LOOK_SECONDS)
    asked = questions(world, "192.168.5.1")
    await world.later(29)
    assert questions(world, "192.168.5.1") == asked
    await world.later(2)
    assert questions(world, "192.168.5.1") == asked + 1


async def test_who_waits_with_many_addresses_asks_for_the_one_that_keeps_it_waiting(world: VrrpWorld) -> None:
    """All of them are asked for again after half a minute, and as soon as nobody answers for that one."""
    given = plan(*many_services())
    answer(world, STRANGER, address="192.168.5.7")
    await world.do(given)
    await world.later(AGAIN_SECONDS)
    assert world.may_carry is False
    asked, of_blocker = questions(world, "192.168.5.1"), questions(world, "192.168.5.7")
    for _ in range(5):
        await world.later(RETRY_SECONDS)
    assert (world.may_carry, questions(world, "192.168.5.1")) == (False, asked)
    assert questions(world, "192.168.5.7") == of_blocker + 5
    answer(world, address="192.168.5.7")
    answer(world, STRANGER, address="192.168.5.8")
    await world.later(RETRY_SECONDS)
    await world.later(0)
    await world.later(AGAIN_SECONDS)
    assert (world.may_carry, questions(world, "192.168.5.1")) == (False, asked + 2)
    answer(world, address="192.168.5.8")
    await world.later(RETRY_SECONDS)
    await world.later(0)
    assert world.may_carry is True


async def test_who_waits_with_many_addresses_goes_on_once_that_is_the_network(world: VrrpWorld) -> None:
    """No later than with one: only the address that keeps it waiting is asked for."""
    given = plan(*many_services())
    answer(world, STRANGER, address="192.168.5.7")
    await world.do(given)
    await world.later(AGAIN_SECONDS)
    await world.later(RETRY_SECONDS)
    assert world.may_carry is False
    world.source.plan = with_network(given, STRANGER)
    await world.later(RETRY_SECONDS)
    await world.later(0)
    await world.later(0)
    assert world.may_carry is True
