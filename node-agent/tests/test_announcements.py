"""When neighbours are told of an address."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from lvs_agent.converge.announcements import ANNOUNCE_AFTER, MAX_FAILURES, RETRY_SECONDS, AnnouncementKeeper
from lvs_agent.decide.kernel_state import AddressBinding, Device, IPAddress, KernelLinks
from lvs_agent.errors import AnnounceError
from lvs_agent.kernel.fake_neighbours import FakeAnnouncer
from lvs_agent.serve.metrics import AgentMetrics

VIP = AddressBinding(address=ip_address("192.168.4.15"), device="eth0")
ETH0 = Device(index=2, name="eth0", kind="", up=True, arp_capable=True, hardware_address=bytes(6))
SERIES = len(ANNOUNCE_AFTER)


@dataclass
class Wire(FakeAnnouncer):
    """A device through which nothing goes out while it is broken."""

    broken: bool = False
    tries: int = 0

    def announce(self, device: str, address: IPAddress) -> None:
        self.tries += 1
        if self.broken:
            raise AnnounceError("Network is down")
        super().announce(device, address)


@dataclass
class Director:
    """Carries one VIP, and looks every half second."""

    wire: Wire = field(default_factory=Wire)
    device: Device = ETH0
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.metrics = AgentMetrics()
        self.keeper = AnnouncementKeeper(self.wire, self.metrics, lambda: self.now)

    def look(self, seconds: float, *, bound: bool = False) -> int:
        """How many announcements went out in this time."""
        before = len(self.wire.sent)
        newly = {VIP} if bound else set()
        for _ in range(int(2 * seconds)):
            self.keeper.carry({VIP}, newly, KernelLinks(devices={"eth0": self.device}))
            self.keeper.announce()
            newly = set()
            self.now += 0.5
        return len(self.wire.sent) - before


def test_an_address_is_announced_a_few_times() -> None:
    director = Director()
    assert director.look(20) == SERIES
    assert director.keeper.next_deadline() is None
    assert director.metrics.registry.get_sample_value("lvs_agent_announcements_total") == SERIES


def test_an_address_that_was_bound_again_within_a_round_is_announced_again() -> None:
    director = Director()
    director.look(20)
    assert director.look(20, bound=True) == SERIES


def test_what_could_not_be_sent_does_not_count() -> None:
    director = Director(wire=Wire(broken=True))
    assert director.look(15) == 0
    assert director.keeper.next_deadline() is not None
    director.wire.broken = False
    assert director.look(20) == SERIES


def test_it_is_not_tried_for_ever() -> None:
    director = Director(wire=Wire(broken=True))
    director.look(4 * MAX_FAILURES * RETRY_SECONDS)
    assert director.wire.tries == MAX_FAILURES
    assert director.keeper.next_deadline() is None


@pytest.mark.parametrize("change", [{"up": False}, {"carrier": False}])
def test_an_address_is_announced_when_its_device_comes_back(change: dict[str, bool]) -> None:
    director = Director(device=replace(ETH0, **change))
    assert director.look(5) == 0
    assert director.wire.tries == 0
    director.device = ETH0
    assert director.look(20) == SERIES


@pytest.mark.parametrize("change", [{"index": 9}, {"hardware_address": b"\2" * 6}])
def test_an_address_is_announced_when_its_device_is_another(change: dict[str, object]) -> None:
    director = Director()
    director.look(20)
    director.device = replace(ETH0, **change)
    assert director.look(20) == SERIES


def test_an_address_that_went_is_not_announced() -> None:
    director = Director()
    director.look(0.5)
    director.keeper.carry(set(), set(), KernelLinks(devices={"eth0": ETH0}))
    director.now += 20
    director.keeper.announce()
    assert len(director.wire.sent) == 1
    assert director.keeper.next_deadline() is None
