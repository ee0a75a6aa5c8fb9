"""Another hand that keeps undoing what is ours: when it is told, who is guessed, and when it is over."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import SERVICE, VIP, World, director, member, service, service_on

from lvs_agent.decide.changes import AddDestination, AddService, EditDestination
from lvs_agent.decide.contest import (
    CLEAR_SECONDS,
    KUBE_PROXY_DEVICE,
    NO_CONTEST,
    RAISE_SECONDS,
    RAISE_TIMES,
    TELL_SECONDS,
    Contest,
    Damage,
    Traces,
    follow,
    traces_of,
)
from lvs_agent.decide.kernel_state import (
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    Device,
    FirewallMarkKey,
    ForwardingMethod,
    InterfaceAddress,
    KernelLinks,
    ServiceKey,
    ServiceSettings,
    ServiceState,
    TransportProtocol,
)
from lvs_api.conditions import ConditionType, Reason

CONTESTED = ConditionType.TABLE_CONTESTED
MARK = FirewallMarkKey(mark=10, family=AddressFamily.IPV4)
VIP6 = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address("fd00::15"), port=80)
CLUSTER_SERVICE = ServiceKey(protocol=TransportProtocol.TCP, address=ip_address("10.96.0.1"), port=443)
PROXY = Traces(has_device=True, services=2)
NO_DAMAGE = Damage()


def deleted(*services: AnyServiceKey) -> Damage:
    return Damage(deleted=frozenset(services or [SERVICE]))


def after(*moments: float, damage: Damage | None = None, traces: Traces = PROXY) -> Contest:
    """What comes of damage at these moments, with quiet rounds each second in between."""
    contest, clock = NO_CONTEST, 0.0
    for moment in moments:
        while clock < moment:
            contest = follow(contest, NO_DAMAGE, Traces(), clock)
            clock += 1
        contest = follow(contest, damage or deleted(), traces, moment)
    return contest


def message(contest: Contest) -> str:
    assert contest.fault is not None
    assert contest.fault.reason is Reason.FOREIGN_WRITER
    return contest.fault.message


@pytest.mark.parametrize(
    ("moments", "is_told"),
    [
        ((), False),
        ((0,), False),
        ((0, 1), False),
        ((0, 1, 2), True),
        ((0, 30, 60), True),  # kube-proxy where nothing happens
        ((0, 60, 120), True),
        ((0, 61, 122), False),
        ((0, 200, 400, 600), False),
        ((0, 100, 200, 219), True),
    ],
)
def test_it_is_told_when_it_comes_often_enough(moments: tuple[float, ...], is_told: bool) -> None:
    assert (after(*moments).fault is not None) is is_told


def test_it_is_told_until_there_was_peace_for_a_while() -> None:
    contest = after(0, 1, 2)
    for clock in range(3, int(CLEAR_SECONDS) + 2):
        assert follow(contest, NO_DAMAGE, Traces(), clock) is contest
    assert follow(contest, NO_DAMAGE, Traces(), CLEAR_SECONDS + 2) is NO_CONTEST
    # One who comes more seldom than is needed to be told of keeps it told.
    rare = after(0, 1, 2, 250, 500, 750)
    assert follow(rare, NO_DAMAGE, Traces(), 900).fault is not None
    assert follow(rare, NO_DAMAGE, Traces(), 750 + CLEAR_SECONDS).fault is None


def test_seldom_damage_is_forgotten() -> None:
    once = after(0)
    assert follow(once, NO_DAMAGE, Traces(), RAISE_SECONDS - 1) is once
    assert follow(once, NO_DAMAGE, Traces(), RAISE_SECONDS) is NO_CONTEST


def test_words_change_seldom() -> None:
    """Each other message is a write of the status."""
    told, contest = set(), NO_CONTEST
    for clock in range(600):
        contest = follow(contest, deleted(service_on(clock)), PROXY, clock)
        told.add(contest.fault)
    assert len(told) == 1 + 600 // TELL_SECONDS  # None among them
    assert len(contest.occasions) == RAISE_SECONDS + 1


def test_the_words_say_what_and_how_often() -> None:
    said = message(after(0, 30, 60, damage=Damage(deleted=frozenset({SERVICE}), changed=frozenset({VIP6, MARK}))))
    assert f"3 times in 120 s; this time it deleted TCP {VIP}:80 and changed TCP [fd00::15]:80, mark 10 IPv4." in said
    many = message(after(0, 1, 2, damage=deleted(*(service_on(port) for port in range(1, 9)))))
    assert "deleted TCP 192.168.4.15:1, TCP 192.168.4.15:2, TCP 192.168.4.15:3 and 5 more." in many


def test_kube_proxy_is_guessed_by_what_is_there() -> None:
    said = message(after(0, 1, 2, damage=deleted(SERVICE, service_on(443), VIP6)))
    assert "Perhaps it is kube-proxy in ipvs mode (its device kube-ipvs0 is here with the addresses of 2 IPVS" in said
    assert f"ipvs.excludeCIDRs ({VIP}/32, fd00::15/128)" in said
    said = message(after(0, 1, 2, traces=Traces(has_device=True)))
    assert "(its device kube-ipvs0 is here, but without services)" in said


@pytest.mark.parametrize(
    ("damage", "traces"),
    [
        pytest.param(deleted(), Traces(), id="no device"),
        pytest.param(deleted(MARK), PROXY, id="it leaves marks alone"),
        pytest.param(Damage(changed=frozenset({SERVICE})), PROXY, id="it changes no single destinations of others"),
    ],
)
def test_nobody_is_guessed_without_reason(damage: Damage, traces: Traces) -> None:
    said = message(after(0, 1, 2, damage=damage, traces=traces))
    assert "Nothing here tells who it is" in said
    assert "kube-proxy" not in said


def test_traces_are_services_on_the_device_s_addresses() -> None:
    device = Device(
        index=9, name=KUBE_PROXY_DEVICE, kind="dummy", up=False, arp_capable=True, hardware_address=bytes(6)
    )
    bound = InterfaceAddress(device=KUBE_PROXY_DEVICE, address=ip_address("10.96.0.1"), prefix_length=32)
    elsewhere = InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=32)
    links = KernelLinks(devices={KUBE_PROXY_DEVICE: device}, addresses=frozenset({bound, elsewhere}))
    assert traces_of(links, {SERVICE, MARK, CLUSTER_SERVICE}) == Traces(has_device=True, services=1)
    assert traces_of(KernelLinks(), {SERVICE, CLUSTER_SERVICE}) == Traces()


def test_what_repairs_put_right() -> None:
    settings = DestinationSettings(weight=1, method=ForwardingMethod.DIRECT_ROUTE)
    target = DestinationKey(address=ip_address("192.168.4.100"), port=80)
    made = AddService(service=SERVICE, settings=ServiceSettings(scheduler="rr"))
    filled = AddDestination(service=SERVICE, destination=target, settings=settings)
    edited = EditDestination(service=MARK, destination=target, settings=settings)
    damage = Damage().and_by([filled]).and_by([edited])
    assert damage == Damage(changed=frozenset({SERVICE, MARK}))
    assert damage.and_by([made]) == Damage(deleted=frozenset({SERVICE}), changed=frozenset({MARK}))
    assert not Damage()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_node_whose_services_keep_being_deleted_says_so(world: World) -> None:
    await world.do(director(service(member(100), member(101))))
    world.links.add_device(KUBE_PROXY_DEVICE)
    world.links.addresses.add(
        InterfaceAddress(device=KUBE_PROXY_DEVICE, address=ip_address("10.96.0.1"), prefix_length=32)
    )
    world.ipvs.services[CLUSTER_SERVICE] = ServiceState(settings=ServiceSettings(scheduler="rr"))
    for times in range(RAISE_TIMES):
        assert world.condition(CONTESTED) is None
        await world.later(29)
        del world.ipvs.services[SERVICE]
        await world.later(1)
        assert world.weights() == {"100": 1, "101": 1}
        assert world.metric("lvs_agent_repairs_total", kind="service") == times + 1
    reason, said = world.condition(CONTESTED) or ("", "")
    assert reason == "ForeignWriter"
    assert f"3 times in 120 s; this time it deleted TCP {VIP}:80." in said
    assert "kube-ipvs0 is here with the addresses of 1 IPVS services), which deletes" in said
    assert f"ipvs.excludeCIDRs ({VIP}/32)" in said
    (ready, _) = world.status.conditions or ()
    assert (ready.type, ready.status) == ("Ready", "True")
    assert world.status.exceptions == []
    assert set(world.ipvs.services) == {SERVICE, CLUSTER_SERVICE}
    told = len(world.statuses)
    for _ in range(4):
        await world.later(CLEAR_SECONDS / 4 - 1)
        assert len({status.model_dump_json() for status in world.statuses[told - 1 :]}) == 1
    await world.later(4)
    assert world.condition(CONTESTED) is None


async def test_a_change_of_the_plan_is_nobody_s_damage(world: World) -> None:
    for weight in range(1, 2 * RAISE_TIMES):
        await world.do(director(service(member(100, weight=weight))))
        await world.later(1)
    assert world.condition(CONTESTED) is None


async def test_destinations_that_keep_being_edited_are_damage(world: World) -> None:
    await world.do(director(service(member(100))))
    for _ in range(RAISE_TIMES):
        state = world.ipvs.services[SERVICE]
        world.ipvs.services[SERVICE] = ServiceState(settings=state.settings)
        await world.later(1)
    reason, said = world.condition(CONTESTED) or ("", "")
    assert reason == "ForeignWriter"
    assert f"this time it changed TCP {VIP}:80." in said
    assert world.weights() == {"100": 1}
