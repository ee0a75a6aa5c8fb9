"""Other hands in the kernel: what is ours is repaired and counted, what is not ours is left alone."""

import pytest

from lvs_lab.python_packages import agent_environment
from lvs_lab.waiting import wait_for
from support.deployment import Deployment
from support.manifests import service_text
from support.quick_start import (
    KEY,
    MANIFEST,
    SERVERS,
    VIP,
    active_director,
    client,
    quick_shape,
)
from support.tables import Shape
from support.traffic import HeldConnection, answers

pytestmark = pytest.mark.lab
REPAIR_SECONDS = 3.0
"""Repairs come within about a second; the rest is for a busy machine and for looking."""
FOREIGN: Shape = {"TCP 192.168.10.200:99 wlc": {"192.168.10.23:99": ("Masq", 5)}}


def repairs(web: Deployment, node: str) -> float:
    return web.agent_metric(node, "lvs_agent_repairs_total")


@pytest.mark.parametrize(
    "damage",
    [
        ("ipvsadm", "-C"),
        ("ipvsadm", "-D", "-t", f"{VIP}:80"),
        ("ipvsadm", "-d", "-t", f"{VIP}:80", "-r", "192.168.10.21:80"),
        ("ipvsadm", "-e", "-t", f"{VIP}:80", "-r", "192.168.10.21:80", "-g", "-w", "77"),
        ("ipvsadm", "-e", "-t", f"{VIP}:80", "-r", "192.168.10.21:80", "-m", "-w", "1"),
        ("ipvsadm", "-E", "-t", f"{VIP}:80", "-s", "sh"),
        ("ipvsadm", "-E", "-t", f"{VIP}:80", "-s", "rr", "-p", "99"),
    ],
    ids=" ".join,
)
def test_damaged_table_is_repaired_and_counted(web: Deployment, damage: tuple[str, ...]) -> None:
    active = active_director(web)
    before = repairs(web, active)
    web.lab.guest(active).out(*damage)
    web.wait_shape(active, quick_shape(), deadline=REPAIR_SECONDS)
    assert repairs(web, active) > before


@pytest.mark.parametrize(("role", "device"), [("director", "eth0"), ("server", "lo")])
def test_removed_address_is_put_back(web: Deployment, role: str, device: str) -> None:
    node = active_director(web) if role == "director" else "server-2"
    before = repairs(web, node)
    web.lab.guest(node).out("ip", "address", "del", f"{VIP}/32", "dev", device)
    wait_for(
        lambda: f"{VIP}/32" in web.addresses(node, device), REPAIR_SECONDS, f"{node} to have the VIP", interval=0.02
    )
    assert repairs(web, node) > before
    wait_for(lambda: answers(client(web), VIP), REPAIR_SECONDS, f"{VIP} to answer")


def test_flushed_device_gets_the_address_back(web: Deployment) -> None:
    server = web.lab.guest("server-2")
    server.sh("ip link set lo down; ip address flush dev lo; ip link set lo up")
    wait_for(lambda: f"{VIP}/32" in web.addresses("server-2", "lo"), REPAIR_SECONDS, "server-2 to have the VIP")
    wait_for(lambda: web.shape(active_director(web)) == quick_shape(), 20, "server-2 to have its weight")


@pytest.mark.parametrize("setting", ["arp_ignore", "arp_announce"])
def test_lost_silence_is_restored(web: Deployment, setting: str) -> None:
    before = repairs(web, "server-2")
    wanted = web.sysctls("server-2")
    web.lab.guest("server-2").out("sysctl", "--write", f"net.ipv4.conf.all.{setting}=0")
    wait_for(lambda: web.sysctls("server-2") == wanted, REPAIR_SECONDS, f"{setting} to be restored")
    assert repairs(web, "server-2") > before


def test_foreign_service_is_left_alone(web: Deployment) -> None:
    active = active_director(web)
    guest = web.lab.guest(active)
    guest.sh("ipvsadm -A -t 192.168.10.200:99 -s wlc; ipvsadm -a -t 192.168.10.200:99 -r 192.168.10.23:99 -m -w 5")
    guest.out("ip", "address", "add", "192.168.10.200/32", "dev", "eth0")
    try:
        web.patch("lvspool", "web", {"weight": 2})
        web.wait_shape(active, quick_shape(weights=dict.fromkeys(SERVERS, 2)) | FOREIGN)
        web.delete(MANIFEST)
        web.wait_shape(active, FOREIGN)
        web.lab.agent(active).kill()
        web.start_agent(active)
        web.apply(MANIFEST)
        web.wait_ready("web")
        web.wait_shape(active, quick_shape() | FOREIGN)
        assert "192.168.10.200/32" in web.addresses(active, "eth0")
    finally:
        guest.sh("ipvsadm -D -t 192.168.10.200:99; ip address del 192.168.10.200/32 dev eth0")


def test_foreign_real_server_of_our_service_is_left_alone(web: Deployment) -> None:
    """Ownership is by entry: what somebody adds to our service is theirs."""
    active = active_director(web)
    guest = web.lab.guest(active)
    guest.out("ipvsadm", "-a", "-t", f"{VIP}:80", "-r", "192.168.10.50:80", "-g", "-w", "0")
    try:
        web.patch("lvspool", "web", {"weight": 2})
        wanted = quick_shape(weights=dict.fromkeys(SERVERS, 2))
        wanted[f"{KEY} rr"]["192.168.10.50:80"] = ("Route", 0)
        web.wait_shape(active, wanted)
    finally:
        guest.out("ipvsadm", "-d", "-t", f"{VIP}:80", "-r", "192.168.10.50:80")


def test_foreign_service_in_our_way_is_named_and_not_changed(web: Deployment) -> None:
    active = active_director(web)
    guest = web.lab.guest(active)
    theirs: Shape = {"TCP 192.168.10.106:80 lc": {"192.168.10.23:80": ("Masq", 9)}}
    guest.sh("ipvsadm -A -t 192.168.10.106:80 -s lc; ipvsadm -a -t 192.168.10.106:80 -r 192.168.10.23:80 -m -w 9")
    web.apply(service_text("clash", "192.168.10.106"))
    condition = web.wait_condition("clash", "Programmed", "False", "ForeignEntry")
    assert "192.168.10.106" in condition["message"]
    assert web.shape(active) == quick_shape() | theirs
    guest.out("ipvsadm", "-D", "-t", "192.168.10.106:80")
    web.wait_ready("clash")
    web.wait_shape(active, quick_shape() | quick_shape(vip="192.168.10.106"))
    web.lab.kubectl("delete", "lvsvs", "clash")


def test_connections_live_through_repairs_of_other_entries(web: Deployment) -> None:
    with HeldConnection(web.client_namespace("client"), VIP) as held:
        server = held.ask()
        other = next(address for name, address in SERVERS.items() if name != server)
        active = active_director(web)
        web.lab.guest(active).out("ipvsadm", "-d", "-t", f"{VIP}:80", "-r", f"{other}:80")
        web.wait_shape(active, quick_shape(), deadline=REPAIR_SECONDS)
        assert held.ask() == server
        assert web.table(active)[KEY].destinations[f"{SERVERS[server]}:80"].active >= 1


def test_cleanup_removes_what_is_ours_and_nothing_else(web: Deployment) -> None:
    active = active_director(web)
    guest = web.lab.guest(active)
    guest.sh("ipvsadm -A -t 192.168.10.200:99 -s wlc; ipvsadm -a -t 192.168.10.200:99 -r 192.168.10.23:99 -m -w 5")
    try:
        for node in (active, "server-2"):
            web.lab.agent(node).kill("TERM")
            if web.lab.agent(node).vrrp.running:  # a pod always has it
                web.lab.agent(node).vrrp.kill("TERM")
            web.lab.agent(node).run_verb("cleanup", "--node-name", node)
        assert web.shape(active) == FOREIGN
        assert f"{VIP}/32" not in web.addresses(active, "eth0")
        assert "192.168.10.11/24" in web.addresses("director-1", "eth0")
        assert f"{VIP}/32" not in web.addresses("server-2", "lo")
        settings = web.sysctls("server-2")
        assert settings["ipv4/conf/all/arp_ignore"] == settings["ipv4/conf/all/arp_announce"] == "0"
        web.lab.agent("server-2").run_verb("cleanup", "--node-name", "server-2")
    finally:
        guest.out("ipvsadm", "-D", "-t", "192.168.10.200:99")


@pytest.mark.processes("a DaemonSet makes no second pod on a node")
def test_second_agent_on_a_node_is_refused(web: Deployment) -> None:
    agent = web.lab.agent("server-2")
    kubeconfig = "/run/lvs-lab-agent/kubeconfig"
    options = [
        "--kubeconfig",
        kubeconfig,
        "--node-name",
        "server-2",
        "--health-address",
        "",
        "--state-dir",
        "/tmp/other",
    ]
    refused = web.lab.guest("server-2").exec(
        ["timeout", "20", "python3", "-m", "lvs_agent", "run", *options], env=agent_environment()
    )
    assert refused.returncode not in {0, 124}
    assert "agent" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert agent.running
