"""Refused addresses in rounds of an agent on the fake kernel: nothing is made for them, everything beside them is."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from agent_world import NAME, NO_PART, SERVICE, VIP, World, check_target, director, member, real_server, service
from inputs_in_hand import Known

from lvs_agent.converge.refusals import name_servers
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import InterfaceAddress
from lvs_agent.decide.refused_addresses import ClusterFacts, NodeClaim
from lvs_api.conditions import Reason
from lvs_api.lvs_node import NodeAddressState
from lvs_api.network_types import Protocol
from lvs_core.plan import Holding, PlannedService, VirtualServerKey

OTHER = "192.168.4.16"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def other_service() -> PlannedService:
    """OTHER:80/TCP of default/other."""
    key = VirtualServerKey(address=ip_address(OTHER), port=80, protocol=Protocol.TCP)
    return service(member(101), key=key, service=NAME._replace(name="other"))


def api_server(world: World) -> None:
    world.cluster = Known(ClusterFacts(api_servers=frozenset({ip_address(VIP)})))
    world.restart()


def node(world: World) -> None:
    world.cluster = Known(ClusterFacts(nodes={ip_address(VIP): NodeClaim(node="n2")}))
    world.restart()


def gateway(world: World) -> None:
    world.links.gateways.add(ip_address(VIP))


def name_server(world: World) -> None:
    (world.directory / "resolv.conf").write_text(f"search example.org\nnameserver {VIP}\n")


def refused_range(world: World) -> None:
    world.refused_ranges.append(ip_network("192.168.4.15/32"))


def own_address(world: World) -> None:
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=24))


RULES = [api_server, node, gateway, name_server, refused_range, own_address]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("holding", [Holding.HOLD, Holding.RELEASE])
async def test_a_director_makes_nothing_for_it_and_serves_the_others(world: World, rule, holding: Holding) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 -- one of RULES
    rule(world)
    await world.do(director(service(member(100, check=check_target(100))), other_service(), holding=holding), rounds=2)
    assert {str(key.address) for key in world.ipvs.services} == {OTHER}
    assert world.bound() == ({f"{OTHER}@eth0"} if holding is Holding.HOLD else set())
    assert [str(address) for _, address in world.announcer.sent] == ([OTHER] if holding is Holding.HOLD else [])
    assert not world.health.wanted, "nobody is checked for a service that is not made"
    exception = world.exception()
    assert (exception.name, exception.programmed) == ("web", False)
    assert exception.reason == ("AddressConflict" if rule is own_address else "AddressRefused")
    assert VIP in exception.message


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
async def test_a_real_server_binds_only_the_others(world: World, rule) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 -- one of RULES
    rule(world)
    await world.do(real_server(VIP, OTHER), rounds=2)
    reason = "AddressConflict" if rule is own_address else "AddressRefused"
    assert world.metric("lvs_agent_addresses_not_bound", reason=reason) == 1
    assert world.bound() == {f"{OTHER}@lo"}
    states = {one.address: (one.state, one.message or "") for one in world.status.addresses or ()}
    wanted = NodeAddressState.CONFLICT if rule is own_address else NodeAddressState.FAILED
    assert states[OTHER] == (NodeAddressState.BOUND, "")
    assert states[VIP][0] is wanted
    assert VIP in states[VIP][1]


async def test_a_refused_address_alone_silences_nobody(world: World) -> None:
    gateway(world)
    await world.do(real_server(VIP), rounds=2)
    assert world.writes() == (0, 0, 0)


async def test_what_somebody_else_bound_just_so_is_not_adopted(world: World) -> None:
    """Say the API server's own VIP on a control-plane node: it would be taken from there one day."""
    api_server(world)
    world.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(VIP), prefix_length=32))
    await world.do(director(service(member(100))), rounds=2)
    await world.do(NO_PART)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.links.writes == 0


async def test_it_is_taken_once_nothing_else_uses_it(world: World) -> None:
    gateway(world)
    await world.do(director(service(member(100))))
    world.links.gateways.clear()
    await world.later(1)
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.weights() == {"100": 1}
    assert world.status.exceptions == []


async def test_what_is_ours_stays_when_something_else_comes_to_use_it(world: World) -> None:
    plan = director(service(member(100)))
    await world.do(plan)
    gateway(world)
    world.restart()
    for _ in range(3):
        await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}
    assert world.weights() == {"100": 1}
    assert world.status.exceptions == []


async def test_a_standby_keeps_its_rules_and_does_not_bind_what_came_to_be_used(world: World) -> None:
    await world.do(director(service(member(100)), holding=Holding.RELEASE))
    gateway(world)
    await world.do(director(service(member(100)), holding=Holding.HOLD), rounds=2)
    assert world.bound() == set()
    assert world.weights() == {"100": 1}
    assert world.exception().reason == "AddressRefused"


async def test_nothing_is_claimed_while_the_cluster_is_not_known(world: World) -> None:
    known = Known(Fault(reason=Reason.PENDING, message="asking"))
    world.cluster = known
    world.restart()
    await world.do(director(service(member(100))))
    assert SERVICE not in world.ipvs.services
    assert (world.exception().reason, world.exception().message) == ("Pending", "asking")
    known.facts = ClusterFacts()
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}


async def test_rules_that_need_no_api_server_are_named_before_it_answers(world: World) -> None:
    world.cluster = Known(Fault(reason=Reason.PENDING, message="asking"))
    world.restart()
    gateway(world)
    await world.do(director(service(member(100))))
    assert world.exception().reason == "AddressRefused"


async def test_a_resolver_file_that_can_not_be_read_is_not_one_without_name_servers(world: World) -> None:
    resolver = world.directory / "resolv.conf"
    resolver.symlink_to(resolver)
    await world.do(director(service(member(100))))
    assert (world.ipvs.services, world.bound()) == ({}, set())
    said = world.exception()
    assert said.reason == "AddressRefused"
    assert "resolv.conf: Too many levels of symbolic links" in said.message
    resolver.unlink()
    resolver.mkdir()
    await world.later(1)
    assert world.bound() == {f"{VIP}@eth0"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("nameserver 192.168.4.15\nnameserver 2001:db8::53\n", ["192.168.4.15", "2001:db8::53"]),
        ("# nameserver 192.168.4.15\n;nameserver 192.168.4.15\nsearch nameserver\n", []),
        ("nameserver fe80::1%eth0\n\tnameserver  192.168.4.15  # the second\n", ["fe80::1", "192.168.4.15"]),
        ("nameserver\nnameserver none\n", []),
    ],
)
def test_name_servers_are_read_as_the_resolver_does(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "resolv.conf").write_text(text)
    assert [str(one) for one in name_servers([tmp_path / "absent", tmp_path / "resolv.conf"])] == found
