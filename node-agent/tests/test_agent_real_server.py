"""Rounds of a real server on the fake kernel: silent, then bound; let go, then as before."""

from dataclasses import replace
from pathlib import Path

import pytest
from agent_world import (
    ARP_ANNOUNCE,
    ARP_IGNORE,
    NO_PART,
    VIP,
    World,
    director,
    member,
    real_server,
    record_order,
    service,
)

from lvs_agent.decide.kernel_sysctls import conf_key
from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import NodeAddressState
from lvs_api.network_types import ForwardingMethod

OTHER_VIP = "192.168.4.16"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_real_server_is_silent_before_it_binds(world: World) -> None:
    order = record_order(world)
    await world.do(real_server(VIP))
    assert order == ["arp_ignore=1", "arp_announce=2", "bind"]
    (address,) = world.status.addresses or ()
    assert (address.address, address.device, address.state) == (VIP, BindDevice.LO, NodeAddressState.BOUND)
    assert world.announcer.sent == []


async def test_a_real_server_lets_go_before_it_speaks_again(world: World) -> None:
    await world.do(real_server(VIP))
    order = record_order(world)
    await world.do(NO_PART)
    assert order[0] == "unbind"
    assert sorted(order[1:]) == ["arp_announce=0", "arp_ignore=0"]
    assert world.status.addresses == []
    assert (world.ledger.ledger.bindings, dict(world.ledger.ledger.sysctls)) == (frozenset(), {})


async def test_it_stays_silent_while_one_address_is_left(world: World) -> None:
    await world.do(real_server(VIP, "192.168.4.16"))
    await world.do(real_server(VIP))
    assert world.bound() == {f"{VIP}@lo"}
    assert (world.sysctls.values[ARP_IGNORE], world.sysctls.values[ARP_ANNOUNCE]) == (1, 2)


async def test_old_values_survive_a_restart(world: World) -> None:
    world.sysctls.values[ARP_ANNOUNCE] = 1
    await world.do(real_server(VIP))
    world.restart()
    await world.do(real_server(VIP))
    await world.do(NO_PART)
    assert (world.sysctls.values[ARP_IGNORE], world.sysctls.values[ARP_ANNOUNCE]) == (0, 1)


async def test_a_drifted_sysctl_is_repaired_and_counted(world: World) -> None:
    await world.do(real_server(VIP), rounds=2)
    world.sysctls.values[ARP_IGNORE] = 0
    await world.later(1)
    assert world.sysctls.values[ARP_IGNORE] == 1
    assert world.metric("lvs_agent_repairs_total", kind="sysctl") == 1


async def test_without_silence_nothing_is_bound(world: World) -> None:
    del world.sysctls.values[ARP_IGNORE]
    await world.do(real_server(VIP))
    assert world.bound() == set()
    (address,) = world.status.addresses or ()
    assert address.state is NodeAddressState.FAILED


async def test_what_another_role_lacks_does_not_make_a_real_server_unprepared(world: World) -> None:
    """A sysctl of Masquerade that can not be set is no reason to take weight from a silent DirectRouting member."""
    del world.sysctls.values[conf_key("ipv4", "eth0", "forwarding")]
    both = replace(director(service(member(100, method=ForwardingMethod.MASQUERADE))), bind=real_server(OTHER_VIP).bind)
    await world.do(both, rounds=2)
    (address,) = world.status.addresses or ()
    assert (address.address, address.state) == (OTHER_VIP, NodeAddressState.BOUND)


async def test_a_tunnel_real_server_binds_on_its_tunnel_device(world: World) -> None:
    await world.do(real_server(VIP, device=BindDevice.TUNL0))
    assert world.bound() == {f"{VIP}@tunl0"}
    (address,) = world.status.addresses or ()
    assert address.state is NodeAddressState.BOUND


async def test_a_tunnel_device_that_can_not_be_made_is_told(world: World) -> None:
    world.links.modules = False
    await world.do(real_server(VIP, device=BindDevice.TUNL0))
    (address,) = world.status.addresses or ()
    assert (address.state, address.message) == (NodeAddressState.FAILED, "there is no network device tunl0")
