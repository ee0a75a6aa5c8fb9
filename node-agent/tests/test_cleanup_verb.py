"""The explicit verb removes what is ours and nothing else."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from agent_world import (
    ARP_ANNOUNCE,
    ARP_IGNORE,
    SERVICE,
    VIP,
    World,
    destination,
    director,
    member,
    real_server,
    service,
)
from cleaning import clean

from lvs_agent.decide.kernel_state import (
    AddressBinding,
    DestinationSettings,
    DestinationState,
    ForwardingMethod,
    InterfaceAddress,
    ServiceKey,
    ServiceSettings,
    ServiceState,
    TransportProtocol,
)
from lvs_agent.decide.packet_table import MarkRule, PacketRules, PacketTable
from lvs_agent.disk.ledger import Ledger, LedgerFile
from lvs_agent.errors import PacketFilterError, PermissionRefused

FOREIGN = ServiceKey(protocol=SERVICE.protocol, address=SERVICE.address, port=8080)


async def test_a_director_is_as_it_was(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ipvs.services[FOREIGN] = ServiceState(settings=ServiceSettings(scheduler="rr"))
    theirs = InterfaceAddress(device="eth0", address=ip_address("192.168.4.77"), prefix_length=32)
    world.links.addresses.add(theirs)
    await world.do(director(service(member(100))))
    (tmp_path / "view").touch()
    assert await clean(world) == ()
    assert list(world.ipvs.services) == [FOREIGN]
    assert world.bound() == {"192.168.4.77@eth0"}
    assert not (tmp_path / "view").exists()
    assert LedgerFile(tmp_path / "ledger", world.boot_id).read() == Ledger()
    assert await clean(world) == ()


async def test_foreign_destinations_in_our_service_stay(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100))))
    state = world.ipvs.services[SERVICE]
    foreign = DestinationState(settings=DestinationSettings(weight=1, method=ForwardingMethod.DIRECT_ROUTE))
    world.ipvs.services[SERVICE] = replace(state, destinations={**state.destinations, destination(109): foreign})
    assert await clean(world) == ()
    assert world.weights() == {"109": 1}


async def test_a_real_server_speaks_again_after_it_let_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(real_server(VIP))
    assert world.sysctls.values[ARP_IGNORE] == 1
    assert await clean(world) == ()
    assert world.bound() == set()
    assert world.sysctls.values[ARP_IGNORE] == 0


async def test_what_does_not_go_is_told_and_kept_in_mind(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(real_server(VIP))
    del world.sysctls.values[ARP_IGNORE]
    world.sysctls.values[ARP_ANNOUNCE] = 2
    real = world.sysctls.write

    def refuse(key, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- as the seam
        raise PermissionRefused(f"writing {key}={value}: read-only")

    world.sysctls.write = refuse  # type: ignore[method-assign]  # in place of the fake's own
    (problem,) = await clean(world)
    assert "arp_announce=0: read-only" in problem
    world.sysctls.write = real  # type: ignore[method-assign]  # in place of the fake's own
    assert await clean(world) == ()
    assert LedgerFile(tmp_path / "ledger", world.boot_id).read() == Ledger()


async def test_our_table_of_the_packet_filter_goes(tmp_path: Path) -> None:
    world = World(tmp_path)
    rule = MarkRule(ip_address(VIP), TransportProtocol.TCP, 80, 4097)
    world.packet_filter.change(PacketTable(rules=PacketRules(marks=frozenset({rule}))))
    assert await clean(world) == ()
    assert world.packet_filter.table is None
    world.packet_filter.is_there = False
    assert await clean(world) == ()


async def unreadable() -> PacketTable | None:
    raise PacketFilterError("table inet lvs-operator is listed in a form that is not known")


async def test_a_table_of_another_version_goes(tmp_path: Path) -> None:
    world = World(tmp_path)
    rule = MarkRule(ip_address(VIP), TransportProtocol.TCP, 80, 4097)
    world.packet_filter.change(PacketTable(rules=PacketRules(marks=frozenset({rule}))))
    world.packet_filter.read = unreadable  # type: ignore[method-assign]  # in place of the fake's own
    assert await clean(world) == ()
    assert world.packet_filter.table is None


async def test_packet_filter_rules_that_do_not_go_are_told(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def replace_rules(_: PacketRules) -> None:
        raise PacketFilterError("writing table inet lvs-operator: nft says: no")

    world.packet_filter.read = unreadable  # type: ignore[method-assign]  # in place of the fake's own
    world.packet_filter.replace = replace_rules  # type: ignore[method-assign]  # in place of the fake's own
    assert await clean(world) == ("writing table inet lvs-operator: nft says: no",)


def test_the_ledger_names_addresses(tmp_path: Path) -> None:
    ledger = Ledger(bindings=frozenset({AddressBinding(address=ip_address(VIP), device="lo")}))
    LedgerFile(tmp_path / "ledger", "b").write(ledger)
    assert LedgerFile(tmp_path / "ledger", "b").read() == ledger
