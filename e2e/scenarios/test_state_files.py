"""The state directory in trouble: the agent says so, keeps what is there, and goes on as far as that is safe."""

from collections.abc import Callable, Iterator

import pytest

from lvs_lab.guest_setup import STATE_DIRECTORY
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.waiting import wait_for
from support.agent_state import (
    LEDGER,
    VIEW,
    fill,
    free,
    make_read_only,
    node_condition,
    restart_agent,
    small_disk,
    wait_node_condition,
    wait_rounds,
)
from support.deployment import GONE_SECONDS, Deployment, holds
from support.manifests import service_text
from support.quick_start import (
    HEALTH_BOUND,
    KEY,
    RETURN_BOUND,
    SERVERS,
    VIP,
    active_director,
    quick_shape,
    quick_start_lab,
    restore,
)
from support.traffic import steady_requests

pytestmark = pytest.mark.lab
ENTRY = f"{SERVERS['server-3']}:80"
OTHER = "192.168.10.101"
DAMAGES = {
    "missing": "rm {0}",
    "empty": ": > {0}",
    "truncated": "truncate --size=-20 {0}",
    "changed": "sed -i s/192.168.10.100/192.168.10.109/ {0}",
    "newer format": "sed -i '1s/^1 /2 /' {0}",
    "directory": "rm {0} && mkdir -p {0}/in-the-way",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with quick_start_lab("state", tmp_path_factory.mktemp("state")) as deployment:
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Iterator[Deployment]:
    yield lab
    for name in ("director-1", "director-2", *SERVERS):
        lab.lab.guest(name).sh(f"rm -rf {STATE_DIRECTORY}/*.damaged.*", check=False)
    restore(lab)


def test_damaged_ledger_and_view_change_nothing(web: Deployment) -> None:
    active = active_director(web)
    for node in (active, "server-2"):
        kernel = (web.shape(active), web.addresses(node, "eth0"), web.addresses(node, "lo"), web.sysctls(node))
        with steady_requests(web.client_namespace("client"), VIP) as record:
            for name, script in DAMAGES.items():
                restart_agent(web, node, lambda guest, script=script: guest.sh(script.format(LEDGER)))  # type: ignore[misc]  # mypy infers no lambda with a default
                reason = None if name == "missing" else "StateDamaged"
                message = wait_node_condition(web, node, "StateNotStored", reason)
                assert web.agent_metric(node, "lvs_agent_kernel_writes_total") == 0, name
                assert web.agent_metric(node, "lvs_agent_state_failures_total") == (name != "missing")
                now = (web.shape(active), web.addresses(node, "eth0"), web.addresses(node, "lo"), web.sysctls(node))
                assert now == kernel, name
                # It is said until somebody has looked at what was set aside.
                aside = web.lab.guest(node).sh(f"ls -d {STATE_DIRECTORY}/ledger.damaged.* || true", check=False).split()
                assert all(path in message for path in aside)
                assert len(aside) == (name != "missing")
                web.lab.guest(node).sh(f"rm -rf {' '.join(aside)}")
                wait_node_condition(web, node, "StateNotStored", None)
        assert record.failures == []
    # What was adopted is ours.
    web.patch("lvspool", "web", {"weight": 3})
    web.wait_shape(active, quick_shape(weights=dict.fromkeys(SERVERS, 3)))


@pytest.mark.parametrize("name", list(DAMAGES))
def test_damaged_view_waits_for_the_api_server(web: Deployment, name: str) -> None:
    active = active_director(web)
    with steady_requests(web.client_namespace("client"), VIP) as record:
        restart_agent(web, active, lambda guest: guest.sh(DAMAGES[name].format(VIEW)))
        assert web.agent_metric(active, "lvs_agent_kernel_writes_total") == 0
        assert web.shape(active) == quick_shape()
        if name == "directory":
            wait_node_condition(web, active, "StateNotStored", "StateNotWritten")
            web.lab.guest(active).sh(f"rm -r {VIEW}")
        wait_node_condition(web, active, "StateNotStored", None, deadline=40)
        wait_for(lambda: web.lab.guest(active).exec(["test", "-s", VIEW]).ok, 5, "the view to be stored again")
    assert record.failures == []


@pytest.mark.parametrize(("trouble", "says"), [(fill, "No space left"), (make_read_only, "Read-only file system")])
def test_director_whose_disk_takes_nothing(web: Deployment, trouble: Callable[[GuestMachine], None], says: str) -> None:
    active = active_director(web)
    twice = dict.fromkeys(SERVERS, 2)
    with small_disk(web, active) as guest, steady_requests(web.client_namespace("client"), VIP) as record:
        trouble(guest)
        web.apply(service_text("other", OTHER))
        condition = web.wait_condition("other", "Programmed", "False", "StateNotWritten")
        assert active in condition["message"]
        message = wait_node_condition(web, active, "StateNotStored", "StateNotWritten")
        assert f"{LEDGER}: {says}" in message
        assert web.shape(active) == quick_shape(), "what can not be remembered is not made"
        # What is there is looked after: edits, health, repairs.
        web.patch("lvspool", "web", {"weight": 2})
        web.wait_shape(active, quick_shape(weights=twice))
        assert record.failures == []
        web.lab.machine("server-3").server(port=80).stop()
        web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
        guest.out("ipvsadm", "-d", "-t", f"{VIP}:80", "-r", ENTRY)
        web.wait_weight(active, KEY, ENTRY, 0, deadline=3)
        web.lab.machine("server-3").serve(port=80)
        web.wait_weight(active, KEY, ENTRY, 2, deadline=RETURN_BOUND)
        # Another agent on the same disk has the view from before the trouble, and writes nothing by it.
        restart_agent(web, active)
        assert web.agent_metric(active, "lvs_agent_kernel_writes_total") == 0
        assert web.shape(active) == quick_shape(weights=twice)
        wait_node_condition(web, active, "StateNotStored", "StateNotWritten")
        free(guest)
        web.wait_shape(active, quick_shape(weights=twice) | quick_shape(vip=OTHER, weights=twice))
        wait_node_condition(web, active, "StateNotStored", None, deadline=40)
        web.wait_ready("other")


def test_real_server_whose_disk_takes_nothing_binds_nothing_new(web: Deployment) -> None:
    active = active_director(web)
    # An earlier test's address is gone and forgotten: what the ledger on disk still names may be bound again.
    ledger = web.lab.guest("server-2")
    wait_for(lambda: OTHER not in ledger.out("cat", LEDGER), GONE_SECONDS, f"server-2 to forget {OTHER}")
    with small_disk(web, "server-2") as guest, steady_requests(web.client_namespace("client"), VIP) as record:
        fill(guest)
        web.apply(service_text("other", OTHER))
        weights = {"server-1": 1, "server-2": 0, "server-3": 1}
        web.wait_shape(active, quick_shape() | quick_shape(vip=OTHER, weights=weights))
        wait_node_condition(web, "server-2", "StateNotStored", "StateNotWritten")
        assert web.addresses("server-2", "lo") >= {f"{VIP}/32"}
        assert f"{OTHER}/32" not in web.addresses("server-2", "lo")
        told = web.get("lvsnode", "server-2")["status"]["addresses"]
        assert [one["state"] for one in told if one["address"] == OTHER] == ["Failed"]
        free(guest)
        web.wait_ready("other")
        web.wait_shape(active, quick_shape() | quick_shape(vip=OTHER))
        assert f"{OTHER}/32" in web.addresses("server-2", "lo")
    assert record.failures == []


def test_ledger_of_another_boot_and_a_script_that_restored_entries(web: Deployment) -> None:
    """A director boots; before its agent starts a script has restored what `ipvsadm` saved, with edits by hand."""
    active = active_director(web)
    web.apply(service_text("other", OTHER))
    web.wait_ready("other")
    guest = web.lab.guest(active)
    saved = guest.out("ipvsadm", "-Sn")
    ledger = guest.out("cat", LEDGER)
    guest.power_off()
    guest.power_on()
    assert guest.out("cat", LEDGER) == ledger
    script = saved.replace(f"-A -t {OTHER}:80 -s rr", f"-A -t {OTHER}:80 -s sh")
    script += "-A -t 192.168.10.200:99 -s wlc\n-a -t 192.168.10.200:99 -r 192.168.10.23:99 -m -w 5\n"
    script += f"-a -t {VIP}:80 -r 192.168.10.77:80 -g -w 0\n"
    guest.exec(["ipvsadm", "-R"], stdin=script, check=True)
    restored = web.shape(active)
    web.start_agent(active)
    wait_rounds(web, active)
    web.wait_condition("other", "Programmed", "False", "ForeignEntry")
    assert web.shape(active) == restored

    def told() -> bool:
        said = {one["name"]: one for one in web.get("lvsnode", active)["status"]["exceptions"]}
        assert (said["other"]["reason"], said["other"]["programmed"]) == ("ForeignEntry", False)
        assert (said["web"]["reason"], said["web"]["programmed"]) == ("ForeignEntry", True)
        return "192.168.10.77:80" in said["web"]["message"]

    wait_for(holds(told), 20, "both to be named")
    # The link is asked before an address is claimed for the first time after a boot.
    wait_for(lambda: f"{VIP}/32" in web.addresses(active, "eth0"), 30, f"{active} to carry {VIP}")
    assert web.shape(active) == restored
    assert node_condition(web, active, "StateNotStored") == {}
    assert web.agent_metric(active, 'lvs_agent_kernel_writes_total{kind="ipvs"}') == 0
    # Services beside it are served, and what was adopted follows its checks.
    web.lab.machine("server-3").server(port=80).stop()
    web.wait_weight(active, KEY, ENTRY, 0, deadline=HEALTH_BOUND)
    web.lab.machine("server-3").serve(port=80)
    web.wait_weight(active, KEY, ENTRY, 1, deadline=RETURN_BOUND)
    guest.sh(f"ipvsadm -D -t {OTHER}:80; ipvsadm -D -t 192.168.10.200:99; ipvsadm -d -t {VIP}:80 -r 192.168.10.77:80")
    web.wait_ready("other")
    web.wait_shape(active, quick_shape() | quick_shape(vip=OTHER), deadline=GONE_SECONDS)
