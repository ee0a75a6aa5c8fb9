"""Agents that are killed, doubled, or new: the kernel stays as it is, and clients notice nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lvs_lab.guest_setup import STATE_DIRECTORY
from lvs_lab.python_packages import agent_environment
from support.agent_state import restart_agent, wait_rounds
from support.deployment import GONE_SECONDS, Deployment, deployed
from support.manifests import pool_text, service_text
from support.quick_start import VIP, active_director, quick_shape, quick_start_lab, restore
from support.steady_load import plain_real_servers, steady_load

pytestmark = pytest.mark.lab
LOAD_VIP = "192.168.30.100"
DIRECTOR = "load-director"
FAST_SERVERS = {f"load-server-{number}": f"192.168.30.{20 + number}" for number in (1, 2, 3)}
ROLE = "lvs-operator.io/role"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with quick_start_lab("restarts", tmp_path_factory.mktemp("restarts")) as deployment:
        yield deployment


@pytest.fixture
def web(lab: Deployment) -> Iterator[Deployment]:
    yield lab
    restore(lab)


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Deployment]:
    """One director, and plain machines behind it that answer fast."""
    with (
        deployed("load", ["load"], tmp_path) as deployment,
        plain_real_servers(deployment.lab, LOAD_VIP, *FAST_SERVERS),
    ):
        check = {"intervalSeconds": 1, "timeoutSeconds": 1, "rise": 2, "fall": 3, "http": {"path": "/"}}
        deployment.apply(pool_text("web", *FAST_SERVERS.values(), more={"healthCheck": check}))
        deployment.apply(service_text("web", LOAD_VIP))
        deployment.wait_ready("web")
        yield deployment


@pytest.mark.parametrize(
    ("rate", "kills"),
    [(300, 3), pytest.param(1000, 10, marks=[pytest.mark.long, pytest.mark.timeout(1200)])],
    ids=["300 a second, 3 times", "1,000 a second, 10 times"],
)
def test_connections_at_a_steady_rate_while_the_agent_is_killed(loaded: Deployment, rate: int, kills: int) -> None:
    table = {f"TCP {LOAD_VIP}:80 rr": {f"{address}:80": ("Route", 1) for address in FAST_SERVERS.values()}}
    loaded.wait_shape(DIRECTOR, table)
    # A little more is asked for than is promised: the figure is what was answered.
    with steady_load(loaded.client_namespace("load-client"), LOAD_VIP, rate + rate // 20) as report:
        for _ in range(kills):
            restart_agent(loaded, DIRECTOR)
            assert loaded.agent_metric(DIRECTOR, "lvs_agent_kernel_writes_total") == 0
            assert loaded.shape(DIRECTOR) == table
            assert f"{LOAD_VIP}/32" in loaded.addresses(DIRECTOR, "eth0")
    print(f"{kills} agents killed and started again: {report}")
    assert report.failures == {}, str(report)
    assert set(report.replies) == set(FAST_SERVERS)
    if report.rate < rate:
        pytest.fail(f"no connection failed, but this machine had no time for {rate} a second: {report}")


def test_agent_and_fresh_director_serve_what_was_accepted_last(web: Deployment) -> None:
    """An edit that is not accepted reaches no kernel, also not by way of an agent that starts after it."""
    active = active_director(web)
    standby = next(name for name in ("director-1", "director-2") if name != active)
    web.lab.kubectl("label", "node", standby, f"{ROLE}-")
    web.wait_shape(standby, {}, deadline=GONE_SECONDS, what=f"{standby} to be no director")
    # Another service holds the address: what the edit asks for is found wrong only by the operator.
    web.apply(service_text("other", "192.168.10.101"))
    web.wait_ready("other")
    both = quick_shape() | quick_shape(vip="192.168.10.101")
    web.patch("lvsvs", "web", {"addresses": ["192.168.10.101"], "scheduler": "sh"})
    web.wait_condition("web", "Accepted", "False", "Conflict")
    restart_agent(web, active)
    assert web.agent_metric(active, "lvs_agent_kernel_writes_total") == 0
    assert web.shape(active) == both
    web.lab.agent(standby).kill()
    web.lab.guest(standby).sh(f"rm -rf {STATE_DIRECTORY}/*")
    web.lab.kubectl("label", "node", standby, f"{ROLE}=director")
    web.start_agent(standby)
    web.wait_shape(standby, both)
    assert web.shape(active) == both
    assert f"{VIP}/32" in web.addresses(active, "eth0")


@pytest.mark.parametrize("namespace", ["the same", "another"])
def test_second_agent_is_refused_and_changes_nothing(web: Deployment, namespace: str) -> None:
    """One agent per network namespace and one per state directory, whoever asks."""
    active = active_director(web)
    guest = web.lab.guest(active)
    state = "/run/other-state" if namespace == "the same" else STATE_DIRECTORY
    kubeconfig = "/run/lvs-lab-agent/kubeconfig"
    words = ["python3", "-m", "lvs_agent", "run", "--kubeconfig", kubeconfig, "--node-name", active]
    words += ["--health-address", "", "--state-dir", state]
    enter = [] if namespace == "the same" else ["unshare", "--net"]
    before = (guest.sh(f"cat {STATE_DIRECTORY}/ledger"), web.sysctls(active), web.addresses(active, "eth0"))
    refused = guest.exec(["timeout", "30", *enter, *words], env=agent_environment())
    assert refused.returncode == 1, refused
    (line,) = refused.stderr.splitlines()
    where = "in this network namespace" if namespace == "the same" else f"with the state directory {STATE_DIRECTORY}"
    assert line.startswith(f"lvs-agent: another lvs-agent works {where}: stop it, or ")
    assert (guest.sh(f"cat {STATE_DIRECTORY}/ledger"), web.sysctls(active), web.addresses(active, "eth0")) == before
    assert guest.exec(["test", "-e", "/run/other-state"]).returncode == 1
    assert web.lab.agent(active).running
    wait_rounds(web, active)
    assert web.shape(active) == quick_shape()
