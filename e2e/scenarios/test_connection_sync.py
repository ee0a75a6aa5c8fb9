"""S7: directors that tell one another of their connections; examples/s7-connection-sync in the quick start's lab."""

from collections.abc import Iterator

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment
from support.quick_start import SERVERS, client
from support.traffic import HeldConnection, answers

pytestmark = pytest.mark.lab
EXAMPLE = EXAMPLES / "s7-connection-sync"
VIP = "192.168.10.107"
DIRECTORS = ("director-1", "director-2")
TOLD_SECONDS = 10.0
"""The kernel sends what it has to tell every two seconds at the latest; the rest is for a busy machine."""
RUNS = "{role} sync daemon (mcast=eth0, syncid=7, maxlen={length}, group={group}, port=8848, ttl=1)"


@pytest.fixture
def synced(web: Deployment) -> Iterator[Deployment]:
    """The quick start with the example beside it, Ready and in force."""
    web.apply(EXAMPLE)
    web.wait_ready("s7-web")
    in_force(web)
    wait_for(lambda: answers(client(web), VIP), 10, f"{VIP} to answer")
    yield web
    web.delete(EXAMPLE)
    for node in DIRECTORS:
        wait_for(lambda node=node: daemons(web, node) == [], GONE_SECONDS, f"no sync daemon to be left on {node}")


def in_force(web: Deployment) -> None:
    web.wait_condition("s7", "SettingsApplied", "True", "SettingsApplied", kind="lvsdg")


def daemons(web: Deployment, node: str) -> list[str]:
    """As `ipvsadm` lists them."""
    return web.lab.guest(node).out("ipvsadm", "-L", "--daemon").splitlines()


def roles(web: Deployment) -> tuple[str, str]:
    """The director that holds the address, and the other one."""
    active = str(web.get("lvsdg", "s7")["status"]["active"])
    return active, next(name for name in DIRECTORS if name != active)


def connections(web: Deployment, node: str) -> dict[str, str]:
    """Established connections to the VIP: the client's end, and the real server."""
    rows = [line.split() for line in web.lab.guest(node).out("ipvsadm", "-Lnc").splitlines()]
    return {row[3]: row[5] for row in rows if row[0] == "TCP" and row[2] == "ESTABLISHED" and row[4] == f"{VIP}:80"}


def test_the_holder_tells_and_the_other_is_told(synced: Deployment) -> None:
    active, standby = roles(synced)
    shown = {"length": 1472, "group": "224.0.0.81"}
    assert daemons(synced, active) == [RUNS.format(role="master", **shown)]
    assert daemons(synced, standby) == [RUNS.format(role="backup", **shown)]
    for node, role in ((active, "Master"), (standby, "Backup")):
        rows = {row["name"]: row for row in synced.get("lvsnode", node)["status"]["settings"]}
        assert rows["connectionSync"]["value"] == f"{role} on eth0, sync id 7, 224.0.0.81 port 8848, ttl 1"
    with HeldConnection(synced.client_namespace("client"), VIP) as held:
        server = held.ask()
        told(synced, standby, held, server)
        assert connections(synced, active)[held.source] == f"{SERVERS[server]}:80"


def told(web: Deployment, standby: str, held: HeldConnection, server: str) -> None:
    """Wait until a director knows just this connection: those of earlier tests stay in its table."""
    wanted = f"{SERVERS[server]}:80"
    wait_for(lambda: connections(web, standby).get(held.source) == wanted, TOLD_SECONDS, f"{standby} to be told")


def test_backup_only_is_kept_off_and_given_back(web: Deployment) -> None:
    """With it the director that holds the address balances nothing while a backup daemon runs there."""
    for node in DIRECTORS:
        web.lab.guest(node).out("sysctl", "--write", "net.ipv4.vs.backup_only=1")
    web.apply(EXAMPLE)
    try:
        web.wait_ready("s7-web")
        in_force(web)
        active, _ = roles(web)
        assert [web.vs_sysctl(node, "backup_only") for node in DIRECTORS] == [0, 0]
        for node in DIRECTORS:
            rows = {row["name"]: row for row in web.get("lvsnode", node)["status"]["settings"]}
            assert (rows["sysctls.backupOnly"]["value"], "reason" in rows["sysctls.backupOnly"]) == ("0", False)
        web.lab.agent(active).kill("TERM")
        holder = web.lab.guest(active)
        holder.out("ipvsadm", "--start-daemon", "backup", "--mcast-interface", "eth0", "--syncid", "7")
        assert answers(client(web), VIP)
        holder.out("sysctl", "--write", "net.ipv4.vs.backup_only=1")
        assert not answers(client(web), VIP)
        web.start_agent(active)
        wait_for(lambda: answers(client(web), VIP), GONE_SECONDS, f"{VIP} to answer")
        assert web.vs_sysctl(active, "backup_only") == 0
    finally:
        web.ensure_running()
        web.delete(EXAMPLE)
        for node in DIRECTORS:
            wait_for(
                lambda node=node: "master" not in "".join(daemons(web, node)), GONE_SECONDS, f"{node} to tell nobody"
            )
            web.lab.guest(node).sh("ipvsadm --stop-daemon backup 2>&1 || true")
    for node in DIRECTORS:
        given_back = f"{node} to have its own value again"
        wait_for(lambda node=node: web.vs_sysctl(node, "backup_only") == 1, GONE_SECONDS, given_back)
        web.lab.guest(node).out("sysctl", "--write", "net.ipv4.vs.backup_only=0")


def test_an_ipv6_group(synced: Deployment) -> None:
    synced.patch("lvsdg", "s7", {"connectionSync": {"multicastGroup": "ff05::107"}})
    in_force(synced)
    active, standby = roles(synced)
    shown = {"length": 1452, "group": "ff05::107"}
    assert daemons(synced, active) == [RUNS.format(role="master", **shown)]
    assert daemons(synced, standby) == [RUNS.format(role="backup", **shown)]
    with HeldConnection(synced.client_namespace("client"), VIP) as held:
        told(synced, standby, held, held.ask())


def test_a_long_connection_survives_the_death_of_its_director(synced: Deployment) -> None:
    active, standby = roles(synced)
    with HeldConnection(synced.client_namespace("client"), VIP) as held:
        server = held.ask()
        told(synced, standby, held, server)
        synced.lab.guest(active).power_off()
        synced.lab.kubectl("taint", "node", active, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
        try:
            wait_for(lambda: roles(synced)[0] == standby, 20, f"{standby} to be active")
            wait_for(lambda: answers(client(synced), VIP), 20, f"{VIP} to answer from {standby}")
            assert held.ask() == server
            wait_for(lambda: "master" in "".join(daemons(synced, standby)), TOLD_SECONDS, f"{standby} to tell")
            assert len(daemons(synced, standby)) == 1
        finally:
            synced.lab.guest(active).power_on()
            synced.start_agent(active)
            synced.lab.kubectl("taint", "node", active, "node.kubernetes.io/out-of-service-")
        in_force(synced)
        wait_for(lambda: "backup" in "".join(daemons(synced, active)), GONE_SECONDS, f"{active} to be told")


def test_a_daemon_that_somebody_stopped_is_started_again(synced: Deployment) -> None:
    active, _ = roles(synced)
    before = synced.agent_metric(active, "lvs_agent_repairs_total")
    synced.lab.guest(active).out("ipvsadm", "--stop-daemon", "master")
    wait_for(lambda: "master" in "".join(daemons(synced, active)), 3.0, f"{active} to tell again")
    assert synced.agent_metric(active, "lvs_agent_repairs_total") == before + 1
    synced.lab.guest(active).out("ipvsadm", "--stop-daemon", "master")
    found = synced.wait_condition("s7", "SettingsApplied", "False", "ChangedByOthers", kind="lvsdg")
    assert "the sync daemon master" in found["message"]
