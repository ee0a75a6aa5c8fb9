"""A whole agent on the fake kernel, with a VRRP daemon that says what a test has it say."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from agent_world import GROUP, VIP, World, director, member, service

from lvs_agent.converge.claimants import FIRST_LOOK_SECONDS
from lvs_agent.decide.kernel_state import InterfaceAddress, ServiceKey, ServiceState
from lvs_agent.decide.virtual_routers import DaemonWord, RouterKey, RouterWord
from lvs_agent.vrrp.shared_directory import VrrpDirectory, digest_of
from lvs_api.lvs_node import VirtualRouterReport, VirtualRouterState
from lvs_api.network_types import Family, Protocol
from lvs_core.plan import Holding, NodePlan, PlannedService, VirtualServerKey
from lvs_core.vrrp import VirtualRouter, VrrpPlan

MASTER, BACKUP, FAULT = VirtualRouterState.MASTER, VirtualRouterState.BACKUP, VirtualRouterState.FAULT
SECOND_VIP = "192.168.4.16"
ROUTER = RouterKey(GROUP, 55, Family.IPV4)
SINCE = "2026-01-01T00:00:00Z"


class VrrpWorld(World):
    """A world in which the VRRP daemon says what a test has it say."""

    supervisor: VrrpDirectory | None = None

    def supervise(self) -> None:
        """Somebody runs the daemon from now on."""
        if self.supervisor is None:
            self.supervisor = VrrpDirectory(self.vrrp.path, self.boot_id)
            self.supervisor.acquire()

    def lose_supervisor(self) -> None:
        """Killed: what it said last stands in the directory."""
        if self.supervisor is not None:
            self.supervisor.release()
            self.supervisor = None

    def say(self, state: VirtualRouterState | None, **changes: Any) -> None:
        self.supervise()
        wanted = self.vrrp.read_wanted()
        assert wanted is not None, "the agent has not told what it wants"
        routers = {} if state is None else {ROUTER: RouterWord(state, SINCE, 1)}
        word = DaemonWord(accepted=digest_of(wanted), pid=1, version="v2.3.3", routers=routers)
        self.vrrp.write_word(replace(word, **changes))
        if state is MASTER:
            self.carry(VIP)
        elif state is not None:
            self.links.addresses = {one for one in self.links.addresses if str(one.address) != VIP}

    def carry(self, address: str) -> None:
        """The daemon puts an address on the device."""
        self.links.addresses.add(InterfaceAddress(device="eth0", address=ip_address(address), prefix_length=32))

    def table(self, vip: str) -> dict[str, ServiceState]:
        """The kernel's services of an address."""
        services = self.ipvs.services
        return {
            str(key): one for key, one in services.items() if isinstance(key, ServiceKey) and str(key.address) == vip
        }

    @property
    def may_carry(self) -> bool | None:
        return self.vrrp.read_tracks().get(str(ROUTER))

    @property
    def router(self) -> VirtualRouterReport:
        (group,) = self.status.director_groups or ()
        (found,) = group.virtual_routers or ()
        return found

    @property
    def holds(self) -> bool:
        (group,) = self.status.director_groups or ()
        return group.holds_addresses


@contextmanager
def on_link(directory: Path, neighbours: Mapping[str, bytes]) -> Iterator[VrrpWorld]:
    """With machines beside it that answer for their addresses."""
    made = VrrpWorld(directory)
    for address, mac in neighbours.items():
        made.probe.neighbours["eth0", ip_address(address)] = {mac}
    yield made
    made.lose_supervisor()


async def be_master(world: VrrpWorld, given: NodePlan) -> None:
    """Carry the addresses, and have looked around once: who answers is known by his MAC address."""
    await world.do(given)
    world.say(MASTER)
    await world.later(0)
    await world.later(FIRST_LOOK_SECONDS)
    world.announcer.sent.clear()


def second_service(**changes: Any) -> PlannedService:
    key = VirtualServerKey(address=ip_address(SECOND_VIP), port=80, protocol=Protocol.TCP)
    return service(member(101), key=key, **changes)


def vrrp_plan(*services: PlannedService, **changes: Any) -> NodePlan:
    """A plan in which one virtual router has the addresses of all services."""
    made = director(*(services or (service(member(100)),)), holding=Holding.VRRP)
    (group,) = made.directing
    router = VirtualRouter(id=55, family=Family.IPV4, priority=150, addresses=group.addresses)
    vrrp = VrrpPlan(
        version=3,
        advert_interval_milliseconds=100,
        preempt_delay_seconds=None,
        peers=(),
        own=(),
        password=None,
        tracked_interfaces=(),
        routers=(router,),
    )
    return replace(made, directing=(replace(group, vrrp=replace(vrrp, **changes)),))
