"""Who may write: the Lease, on a real API server."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lvs_lab.waiting import wait_for
from lvs_operator.api_client import BlockingApiClient, read_kubeconfig
from lvs_operator.errors import NotLeaderError
from lvs_operator.leader import Leader
from lvs_operator.settings import LeaseTimes
from support.api_server import ApiServer, running_api_server

QUICK = LeaseTimes(duration=2.0, write_for=1.5, retry=0.3, retry_failed=0.3)
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/lvs-operator"
DEADLINE = 10


@contextmanager
def candidate(
    server: ApiServer, identity: str, times: LeaseTimes = QUICK, gains: list[bool] | None = None
) -> Iterator[Leader]:
    client = BlockingApiClient(read_kubeconfig(server.kubeconfig), timeout=1.0)
    on_gain = (lambda _: None) if gains is None else gains.append
    leader = Leader(client=client, namespace="default", identity=identity, times=times, on_gain=on_gain)
    leader.start()
    try:
        yield leader
    finally:
        leader.stop()


def holder(server: ApiServer) -> str:
    answer = server.request("GET", LEASE)
    return str(answer.body.get("spec", {}).get("holderIdentity", "")) if answer.status == 200 else ""


@pytest.fixture(autouse=True)
def no_lease(api_server: ApiServer) -> Iterator[None]:
    yield
    api_server.request("DELETE", LEASE)


def test_one_of_two_leads_and_the_other_follows_at_once_when_it_stops(api_server: ApiServer) -> None:
    patient = LeaseTimes(duration=60.0, write_for=50.0, retry=0.2)  # no Lease runs out here
    with candidate(api_server, "first", patient) as first:
        wait_for(lambda: first.leads, DEADLINE, "first to lead")
        with candidate(api_server, "second", patient) as second:
            looks = _looks_of(api_server)
            wait_for(lambda: _looks_of(api_server) > looks + 2, DEADLINE, "second to have looked")
            assert not second.leads
            with pytest.raises(NotLeaderError):
                second.may_write()
            first.may_write()
            first.stop()
            assert not first.leads
            wait_for(lambda: second.leads, DEADLINE, "second to lead after the release")
            assert holder(api_server) == "second"
            assert api_server.request("GET", LEASE).body["spec"]["leaseTransitions"] >= 1


def _looks_of(server: ApiServer) -> int:
    metrics = server.request("GET", "/metrics").message
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in metrics.splitlines()
        if line.startswith("apiserver_request_total") and 'resource="leases"' in line and 'verb="GET"' in line
    )


def test_a_lease_that_nobody_renews_is_taken_over(api_server: ApiServer) -> None:
    dead = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "lvs-operator", "namespace": "default"},
        # Its clock is wrong by years, in either direction; that does not matter.
        "spec": {
            "holderIdentity": "dead",
            "leaseDurationSeconds": 1,
            "renewTime": "2099-01-01T00:00:00.000000Z",
        },
    }
    api_server.request("POST", LEASE.rpartition("/")[0], dead).raise_for_status()
    with candidate(api_server, "heir") as heir:
        wait_for(lambda: heir.leads, DEADLINE, "the heir to lead")
        assert holder(api_server) == "heir"


def test_the_gate_closes_before_the_lease_runs_out_when_the_server_is_silent(tmp_path: Path) -> None:
    gains: list[bool] = []
    with running_api_server(tmp_path / "server") as server, candidate(server, "alone", gains=gains) as alone:
        wait_for(lambda: alone.leads, DEADLINE, "it to lead")
        server.signal_api(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            wait_for(lambda: not alone.leads, DEADLINE, "the gate to close")
            assert time.monotonic() - stopped < QUICK.duration
            assert alone.alive
        finally:
            server.signal_api(signal.SIGCONT)
        wait_for(lambda: alone.leads, DEADLINE, "it to lead again")
        assert gains == [True, False]  # nobody else has led meanwhile


def test_a_busy_main_thread_does_not_lose_the_lease(api_server: ApiServer) -> None:
    with candidate(api_server, "busy") as busy:
        wait_for(lambda: busy.leads, DEADLINE, "it to lead")
        version = api_server.request("GET", LEASE).body["metadata"]["resourceVersion"]
        end = time.monotonic() + QUICK.duration + 1
        total = 0
        while time.monotonic() < end:  # no await, no sleep: a round that computes
            total += sum(range(1000))
            assert busy.leads
        assert api_server.request("GET", LEASE).body["metadata"]["resourceVersion"] != version
    assert threading.main_thread().is_alive()
