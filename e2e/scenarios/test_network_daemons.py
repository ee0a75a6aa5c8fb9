"""The real systemd-networkd and NetworkManager beside the agent: what they take off, and how soon it is back.

Figures are printed (`pytest -rP`): seconds without a reply at an echo request each millisecond, and what became of 100
connections a second. test_failover.py has networkd on a director with VRRP.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lvs_lab.lab_machine import GuestMachine
from lvs_lab.network_daemons import Networkd, NetworkDaemon, NetworkManager
from lvs_lab.waiting import wait_for
from support.deployment import Deployment
from support.fault_figures import longest_silence
from support.quick_start import VIP, active_director, quick_shape
from support.steady_load import LoadReport, steady_load, steady_probes

pytestmark = pytest.mark.lab
REPAIR_SECONDS = 3.0
"""Repairs come at once; the rest is for a busy machine and for looking."""
ADDRESS_REPAIRS = 'lvs_agent_repairs_total{kind="address"}'


@pytest.fixture
def director(web: Deployment) -> Iterator[GuestMachine]:
    """The active director. It has a new kernel and no such daemon afterwards."""
    guest = web.lab.guest(active_director(web))
    yield guest
    guest.power_off()
    guest.power_on()


@pytest.fixture
def server(web: Deployment) -> Iterator[GuestMachine]:
    """A real server, likewise."""
    guest = web.lab.guest("server-2")
    yield guest
    guest.power_off()
    guest.power_on()


@contextmanager
def measured(web: Deployment, what: str) -> Iterator[LoadReport]:
    """Probe and load the VIP meanwhile; no connection may fail, nor may it be silent for longer than a repair takes."""
    client = web.client_namespace("client")
    with steady_load(client, VIP, 100) as load, steady_probes(client, VIP) as probe:
        yield load
    silence = longest_silence(probe.replies, probe.ended)
    print(f"{what}: {silence:.3f} s without a reply, of {len(probe.replies)} replies; {load}")
    assert silence < REPAIR_SECONDS
    assert load.failures == {}
    assert load.succeeded > 0


def takes_off(web: Deployment, node: str, device: str, what: str, deed: Callable[[], None]) -> None:
    """The deed takes the VIP off a device, and the agent puts it back and counts that."""
    before = web.agent_metric(node, ADDRESS_REPAIRS)

    def is_back() -> bool:
        assert web.agent_metric(node, ADDRESS_REPAIRS) > before, "nobody took it off"
        return f"{VIP}/32" in web.addresses(node, device)

    with measured(web, f"{what} on {node}"):
        deed()
        wait_for(is_back, REPAIR_SECONDS, f"{VIP} to be back on {device}", interval=0.02)
    print(f"{what} on {node}: taken off {web.agent_metric(node, ADDRESS_REPAIRS) - before:.0f} times")


def leaves_alone(web: Deployment, node: str, device: str, what: str, deed: Callable[[], None]) -> None:
    """The deed takes nothing off."""
    before = web.agent_metric(node, ADDRESS_REPAIRS)
    with measured(web, f"{what} on {node}"):
        deed()
        assert f"{VIP}/32" in web.addresses(node, device)
    assert web.agent_metric(node, ADDRESS_REPAIRS) == before


def is_as_before(web: Deployment, guest: GuestMachine, daemon: NetworkDaemon) -> None:
    """Wait until the machine has its own addresses, and directors their tables, whatever the daemon did to them."""
    own = {str(one) for one in guest.machine.interfaces[0].addresses}
    wait_for(lambda: own <= web.addresses(guest.name, "eth0"), REPAIR_SECONDS, f"{own} (the daemon: {daemon.log()})")
    for name in ("director-1", "director-2"):
        web.wait_shape(name, quick_shape())


def test_what_networkd_takes_off_a_director_is_put_back(web: Deployment, director: GuestMachine) -> None:
    daemon = Networkd(director)
    takes_off(web, director.name, "eth0", "networkd started", daemon.start)
    is_as_before(web, director, daemon)
    takes_off(web, director.name, "eth0", "networkd restarted", daemon.restart)
    takes_off(web, director.name, "eth0", "networkctl reconfigure", daemon.reconfigure)
    takes_off(web, director.name, "eth0", "networkctl reload, the file being touched", daemon.reload)
    is_as_before(web, director, daemon)


def test_networkd_that_keeps_configurations_leaves_a_director_alone(web: Deployment, director: GuestMachine) -> None:
    daemon = Networkd(director, keeps=True)
    leaves_alone(web, director.name, "eth0", "networkd started with KeepConfiguration=yes", daemon.start)
    leaves_alone(web, director.name, "eth0", "networkd restarted with KeepConfiguration=yes", daemon.restart)
    leaves_alone(web, director.name, "eth0", "networkctl reconfigure with KeepConfiguration=yes", daemon.reconfigure)
    is_as_before(web, director, daemon)


def test_networkd_takes_addresses_off_a_real_servers_loopback_only_where_it_manages_that(
    web: Deployment, server: GuestMachine
) -> None:
    daemon = Networkd(server)
    leaves_alone(web, server.name, "lo", "networkd started, lo unmanaged", daemon.start)
    leaves_alone(web, server.name, "lo", "networkctl reconfigure, lo unmanaged", daemon.reconfigure)
    managing = Networkd(server, loopback=True)
    daemon.stop()
    takes_off(web, server.name, "lo", "networkd started, lo managed", managing.start)
    takes_off(web, server.name, "lo", "networkd restarted, lo managed", managing.restart)
    is_as_before(web, server, managing)


def test_what_network_manager_takes_off_a_director_is_put_back(web: Deployment, director: GuestMachine) -> None:
    daemon = NetworkManager(director)
    takes_off(web, director.name, "eth0", "NetworkManager started, the connection activated", daemon.start)
    is_as_before(web, director, daemon)
    takes_off(web, director.name, "eth0", "nmcli connection up", daemon.activate)
    takes_off(web, director.name, "eth0", "nmcli device reapply", daemon.reapply)
    leaves_alone(web, director.name, "eth0", "NetworkManager restarted", daemon.restart)
    is_as_before(web, director, daemon)
