"""Duplicate probes in rounds of an agent on the fake kernel: who is asked when, and what waits for the answer."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from agent_world import GROUP, NAME, VIP, World, director, member, real_server, service

from lvs_agent.converge.duplicates import CLEAR_SECONDS, LONGEST_RETRY, DuplicateKeeper
from lvs_agent.decide.kernel_state import AddressBinding, InterfaceAddress, IPAddress
from lvs_agent.kernel.fake_neighbours import FakeDuplicateProbe
from lvs_api.network_types import Protocol
from lvs_core.plan import Holding, VirtualServerKey

ADDRESS = ip_address(VIP)
STRANGER = bytes.fromhex("0200000000aa")
PLAN = director(service(member(100)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def asked(world: World) -> int:
    """How often the VIP was asked for."""
    return sum(ADDRESS in addresses for _, addresses in world.probe.asked)


async def test_the_link_is_asked_before_the_address_is_bound(world: World) -> None:
    ask, bound = world.probe.ask, []

    async def note(device: str, addresses: object) -> object:
        bound.append(world.bound())
        return await ask(device, addresses)  # type: ignore[arg-type]  # as the seam

    world.probe.ask = note  # type: ignore[method-assign,assignment]  # in place of the fake's own
    await world.do(PLAN)
    assert bound == [set()]
    assert world.bound() == {f"{VIP}@eth0"}


async def test_with_a_stranger_nothing_is_bound_or_announced(world: World) -> None:
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(PLAN, rounds=3)
    assert world.bound() == set()
    assert world.announcer.sent == []
    assert world.weights() == {"100": 1}, "the rules are there, so that only the address has to come"
    exception = world.exception()
    assert (exception.reason, exception.programmed) == ("AddressConflict", False)
    assert "02:00:00:00:00:aa" in exception.message
    (report,) = world.status.director_groups or ()
    assert (report.name, report.holds_addresses) == (GROUP, False)


async def test_the_network_that_answers_for_others_keeps_no_address_away(world: World) -> None:
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(director(service(member(100)), ignored_answers=frozenset({STRANGER})))
    assert (world.bound(), world.status.exceptions) == ({f"{VIP}@eth0"}, [])


async def test_somebody_beside_the_network_that_answers_for_others_does(world: World) -> None:
    other = bytes.fromhex("0200000000bb")
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER, other}
    await world.do(director(service(member(100)), ignored_answers=frozenset({STRANGER})))
    assert world.bound() == set()
    assert (other.hex(":") in world.exception().message, STRANGER.hex(":") in world.exception().message) == (
        True,
        False,
    )


async def test_who_is_named_as_the_network_is_so_at_once(world: World) -> None:
    """And no longer at once, too; the remedy stands in the message."""
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(PLAN)
    for _ in range(40):
        await world.later(1)
    assert "name it in spec.ignoreAnswersFrom of the LvsDirectorGroup" in world.exception().message
    await world.do(director(service(member(100)), ignored_answers=frozenset({STRANGER})))
    assert world.bound() == {f"{VIP}@eth0"}


async def test_an_address_that_comes_beside_it_changes_nothing_for_one_that_a_stranger_has(world: World) -> None:
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    network = frozenset({bytes.fromhex("0200000000bb")})
    await world.do(director(service(member(100)), ignored_answers=network))
    for _ in range(20):
        await world.later(1)
    before = asked(world)
    key = VirtualServerKey(address=ip_address("192.168.4.16"), port=80, protocol=Protocol.TCP)
    await world.do(director(service(member(100)), service(member(100), key=key), ignored_answers=network))
    assert (world.exception().reason, asked(world)) == ("AddressConflict", before)
    assert world.bound() == {"192.168.4.16@eth0"}


async def test_the_address_comes_when_the_stranger_has_left(world: World) -> None:
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(PLAN)
    for _ in range(40):
        await world.later(1)
    del world.probe.neighbours["eth0", ADDRESS]
    seconds = 0
    while world.bound() != {f"{VIP}@eth0"}:
        seconds += 1
        assert seconds <= LONGEST_RETRY + 1
        assert world.exception().reason == "AddressConflict", "until then it is not called anything else"
        await world.later(1)
    assert world.status.exceptions == []
    assert world.announcer.sent == [("eth0", ADDRESS)]


async def test_a_stranger_is_asked_for_ever_more_rarely(world: World) -> None:
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(PLAN)
    times = []
    for _ in range(120):
        before = asked(world)
        await world.later(1)
        if asked(world) > before:
            times.append(world.now)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_RETRY


async def test_a_card_of_this_node_is_no_stranger(world: World) -> None:
    world.links.add_device("eth1")
    world.probe.neighbours["eth0", ADDRESS] = {world.links.devices["eth1"].hardware_address}
    await world.do(PLAN)
    assert world.bound() == {f"{VIP}@eth0"}


async def test_a_hundred_addresses_are_asked_for_at_once(world: World) -> None:
    services = [
        service(member(100), key=replace(service().key, address=ip_address(f"192.168.9.{n}"))) for n in range(1, 101)
    ]
    await world.do(director(*services))
    assert len(world.bound()) == 100
    ((device, addresses),) = world.probe.asked
    assert (device, len(addresses)) == ("eth0", 100)


async def test_an_address_with_a_stranger_does_not_hold_up_the_others(world: World) -> None:
    other: IPAddress = ip_address("192.168.4.16")
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    key = replace(service().key, address=other)
    await world.do(director(service(member(100)), service(member(101), key=key, service=NAME._replace(name="other"))))
    assert world.bound() == {f"{other}@eth0"}
    assert world.exception().name == "web"


async def test_what_somebody_removed_comes_back_at_once(world: World) -> None:
    """It was ours a moment ago: nobody can have taken it in its place, and clients wait."""
    await world.do(PLAN)
    world.links.remove_behind_our_back(InterfaceAddress(device="eth0", address=ADDRESS, prefix_length=32))
    await world.agent.round()
    assert world.bound() == {f"{VIP}@eth0"}
    assert asked(world) == 1


async def test_a_restarted_agent_asks_before_it_binds_again(world: World) -> None:
    """Nobody knows what happened while it was away."""
    await world.do(PLAN)
    world.restart()
    await world.do(PLAN)
    assert asked(world) == 1, "what is bound is not asked for"
    world.links.remove_behind_our_back(InterfaceAddress(device="eth0", address=ADDRESS, prefix_length=32))
    world.restart()
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(PLAN)
    assert world.bound() == set()


async def test_after_a_reboot_it_is_asked_for(world: World) -> None:
    await world.do(PLAN)
    world.links.remove_behind_our_back(InterfaceAddress(device="eth0", address=ADDRESS, prefix_length=32))
    world.ipvs.clear()
    world.boot_id = "boot-2"
    world.restart()
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(PLAN)
    assert world.bound() == set()
    assert world.exception().reason == "AddressConflict"


async def test_a_move_to_another_device_is_no_first_claim(world: World) -> None:
    world.links.add_device("eth1")
    await world.do(director(service(member(100)), interface="eth0"))
    await world.do(director(service(member(100)), interface="eth1"), rounds=2)
    assert world.bound() == {f"{VIP}@eth1"}
    assert asked(world) == 1


async def test_a_take_over_asks(world: World) -> None:
    await world.do(director(service(member(100)), holding=Holding.RELEASE))
    assert asked(world) == 0
    await world.do(PLAN)
    assert asked(world) == 1


async def test_a_real_server_does_not_ask(world: World) -> None:
    """The active director answers there, by right."""
    world.probe.neighbours["eth0", ADDRESS] = {STRANGER}
    await world.do(real_server(VIP))
    assert world.bound() == {f"{VIP}@lo"}
    assert world.probe.asked == []


async def test_a_device_without_neighbours_is_not_asked(world: World) -> None:
    world.links.add_device("dummy0", kind="dummy", arp_capable=False)
    await world.do(director(service(member(100)), interface="dummy0"))
    assert world.bound() == {f"{VIP}@dummy0"}
    assert world.probe.asked == []


async def test_a_link_that_can_not_be_asked_is_told_and_asked_again(world: World) -> None:
    world.probe.down_devices.add("eth0")
    await world.do(PLAN)
    assert world.bound() == set()
    assert "the link of eth0 is down" in world.exception().message
    world.probe.down_devices.clear()
    await world.later(1)
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}


async def test_an_old_answer_does_not_count(world: World) -> None:
    """The service is refused by the kernel for a while after the link was asked."""
    keeper = DuplicateKeeper(world.probe, monotonic=lambda: world.now, wake=lambda: None)
    wanted, links = {AddressBinding(address=ADDRESS, device="eth0")}, await world.links.read()
    assert keeper.judge(wanted, links, {})
    await keeper._questions[0].task
    assert not keeper.judge(wanted, links, {})
    world.now += CLEAR_SECONDS
    assert keeper.judge(wanted, links, {})
    await keeper.close()


async def test_questions_under_way_end_with_the_agent(world: World) -> None:
    class Slow(FakeDuplicateProbe):
        async def ask(self, device: str, addresses: object) -> dict[IPAddress, frozenset[bytes]]:
            await asyncio.Event().wait()
            raise AssertionError(device, addresses)

    keeper = DuplicateKeeper(Slow(), monotonic=lambda: world.now, wake=lambda: None)
    keeper.judge({AddressBinding(address=ADDRESS, device="eth0")}, await world.links.read(), {})
    (question,) = keeper._questions
    await keeper.close()
    assert question.task.cancelled()
