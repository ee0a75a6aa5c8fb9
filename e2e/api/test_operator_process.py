"""The operator as a process: at rest, at its end, as two replicas, with older CRDs, with a part of the view missing."""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_api.kinds import NODE, SERVICE_SLICE
from lvs_api.testing import director_group, virtual_service
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.waiting import wait_for
from support.fault_proxy import Fault, FaultProxy
from support.operator_process import NAMESPACE, OperatorProcess, running_operator
from support.operator_world import World, world

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/lvs-operator"
RENEWAL = "PUT leases"
REST_SECONDS = 60.0
TAKE_OVER_SECONDS = 40.0
REQUEST = re.compile(
    r'apiserver_request_total\{.*\bresource="(?P<resource>[^"]*)".*\bverb="(?P<verb>[^"]*)".*\} (?P<count>\S+)'
)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("process")) as made:
        yield made


@pytest.fixture(autouse=True)
def tidy(scene: World) -> Iterator[None]:
    yield
    for plural in ("lvsvirtualservices", "lvsrealserverpools", "lvsserviceslices"):
        path = f"/apis/lvs-operator.io/v1alpha1/namespaces/default/{plural}"
        scene.server.request("DELETE", path).raise_for_status()
    scene.server.request("DELETE", LEASE)


def served_writes(scene: World) -> Counter[str]:
    """Writing requests that the API server has served, by verb and resource; its own Leases left out."""
    found: Counter[str] = Counter()
    for line in scene.server.request("GET", "/metrics").message.splitlines():
        match = REQUEST.fullmatch(line)
        if match and match["verb"] in {"POST", "PUT", "PATCH", "DELETE", "APPLY", "DELETECOLLECTION"}:
            found[f"{match['verb']} {match['resource']}"] += int(float(match["count"]))
    return found


def test_at_rest_nothing_is_written_but_the_lease(scene: World) -> None:
    with FaultProxy(scene.server) as proxy:
        kubeconfig = scene.server.write_kubeconfig(scene.directory / "rest.kubeconfig", url=proxy.url)
        with running_operator(scene.directory, kubeconfig, "--check-seconds=2", name="rest") as operator:
            services = [scene.create_web(f"web-{number}", f"192.168.4.{number}")[0] for number in (31, 32, 33)]
            for service in services:
                scene.wait_condition(service, "Ready", "True", "Ready")
            settled = _wait_for_a_quiet_round(operator)
            start, before = len(proxy.seen), served_writes(scene)
            # It did look, and found nothing; and it lives.
            wait_for(
                lambda: (
                    operator.metric("lvs_operator_rounds_total") >= settled + 3
                    and proxy.writes(start).get(RENEWAL, 0) > 1
                ),
                REST_SECONDS,
                "three rounds and two renewals of the Lease",
                interval=0.5,
            )
            difference = served_writes(scene) - before
            assert set(proxy.writes(start)) == {RENEWAL}
            assert set(difference) <= {RENEWAL}


def _wait_for_a_quiet_round(operator: OperatorProcess) -> float:
    """Wait for two rounds in which nothing was written."""
    writes, rounds = operator.metric("lvs_operator_writes_total"), operator.metric("lvs_operator_rounds_total")

    def quiet() -> bool:
        nonlocal writes, rounds
        if operator.metric("lvs_operator_writes_total") != writes:
            writes = operator.metric("lvs_operator_writes_total")
            rounds = operator.metric("lvs_operator_rounds_total")
        return operator.metric("lvs_operator_rounds_total") >= rounds + 2

    wait_for(quiet, 30, "a round that writes nothing", interval=0.2)
    return operator.metric("lvs_operator_rounds_total")


def test_sigterm_ends_it_cleanly_and_releases_the_lease(scene: World) -> None:
    with running_operator(scene.directory, scene.server.kubeconfig, name="ending") as operator:
        wait_for(lambda: operator.leads, 10, "it to lead")
        service, _ = scene.create_web()
        scene.wait_condition(service, "Ready", "True", "Ready")  # with the first slice not all is written yet
        before = scene.generated()
        assert operator.terminate() == 0, operator.log[-3000:]
        assert scene.server.request("GET", LEASE).body["spec"]["holderIdentity"] == ""
        assert scene.generated() == before
        assert "Traceback" not in operator.log
        assert "was never" not in operator.log


def test_sigterm_ends_it_cleanly_without_an_api_server(scene: World) -> None:
    with FaultProxy(scene.server) as proxy:
        kubeconfig = scene.server.write_kubeconfig(scene.directory / "silent.kubeconfig", url=proxy.url)
        with running_operator(scene.directory, kubeconfig, name="silent-end") as operator, proxy.failing(Fault.SILENT):
            assert operator.terminate() == 0, operator.log[-3000:]


def test_wrong_settings_are_refused_by_name(scene: World, tmp_path: Path) -> None:
    with running_operator(
        tmp_path, scene.server.kubeconfig, "--check-seconds=never", name="wrong", wait=False
    ) as operator:
        assert operator.process.wait(20) == 2
        assert "--check-seconds" in operator.log
    with running_operator(tmp_path, tmp_path / "none", name="nowhere", wait=False) as operator:
        assert operator.process.wait(20) == 2
        assert "none" in operator.log


def test_the_other_replica_takes_over_from_one_that_hangs_and_from_one_that_is_killed(scene: World) -> None:
    with FaultProxy(scene.server) as proxy:
        proxied = scene.server.write_kubeconfig(scene.directory / "one.kubeconfig", url=proxy.url)
        with (
            running_operator(scene.directory, proxied, name="one") as one,
            running_operator(
                scene.directory, scene.server.kubeconfig, "--count-seconds=1", name="two", wait=False
            ) as two,
        ):
            wait_for(lambda: one.leads, 10, "the first to lead")
            service, _ = scene.create_web()
            scene.wait_condition(service, "Ready", "True", "Ready")
            wait_for(lambda: two.ready, 20, "the second to be ready")
            assert not two.leads
            assert two.metric("lvs_operator_writes_total") == 0
            before = scene.generated()

            one.process.send_signal(signal.SIGSTOP)
            wait_for(lambda: two.leads, TAKE_OVER_SECONDS, "the second to lead")
            late, _ = scene.create_web("late", "192.168.4.40")
            scene.wait_condition(late, "Ready", "True", "Ready")

            start = len(proxy.seen)
            one.process.send_signal(signal.SIGCONT)
            wait_for(lambda: "GET leases" in _looks(proxy, start), 20, "the first to look at the Lease again")
            scene.wait_until(lambda: not one.leads, "the first to see that it no longer leads")
            assert not proxy.writes(start)

            two.kill()
            wait_for(lambda: one.leads, TAKE_OVER_SECONDS, "the first to lead again")
            assert scene.server.request("GET", LEASE).body["spec"]["holderIdentity"] == "one"
            later, _ = scene.create_web("later", "192.168.4.41")
            scene.wait_condition(later, "Ready", "True", "Ready")
            slices = {name: value for name, value in before.items() if name.startswith("LvsServiceSlice")}
            assert slices.items() <= scene.generated().items()


def _looks(proxy: FaultProxy, since: int) -> set[str]:
    return {f"GET {one.path.rsplit('/', 2)[-2]}" for one in proxy.seen[since:] if one.method == "GET"}


def test_it_waits_for_the_crds(tmp_path: Path) -> None:
    with (
        world(tmp_path, crds=False) as empty,
        running_operator(tmp_path, empty.server.kubeconfig, name="early", wait=False) as operator,
    ):
        wait_for(lambda: operator.metric("lvs_operator_rounds_total") >= 1, 20, "a failed round")
        status, missing = operator.endpoint("/readyz")
        assert (status, "LvsVirtualService" in missing) == (503, True)
        empty.server.install_crds()
        empty.server.create(director_group()).raise_for_status()
        wait_for(lambda: operator.ready, 60, "it to be ready")
        service, _ = empty.create_web()
        empty.wait_condition(service, "Ready", "True", "Ready")
        assert operator.terminate() == 0


def test_older_crds_become_a_condition_and_no_loop(scene: World) -> None:
    crd = CHECKOUT / "crds" / "lvs-operator.io_lvsserviceslices.yaml"
    older = yaml.safe_load(crd.read_text())
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert spec["service"]["properties"].pop("persistence")
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{older['metadata']['name']}"
    install(scene, path, older)
    try:
        with FaultProxy(scene.server) as proxy:
            kubeconfig = scene.server.write_kubeconfig(scene.directory / "older.kubeconfig", url=proxy.url)
            with running_operator(scene.directory, kubeconfig, "--check-seconds=1", name="older") as operator:
                _, pool = scene.create_web("other", "192.168.4.19")
                service = scene.server.create(
                    virtual_service("web", persistence={"timeoutSeconds": 60}, realServerPoolRef={"name": "other"})
                ).raise_for_status()
                scene.wait_condition(service, "CRDOutdated", "True", "CRDOutdated")
                (said,) = [one for one in scene.status(service)["conditions"] if one["type"] == "CRDOutdated"]
                assert "spec.service.persistence.timeoutSeconds" in said["message"]
                _wait_for_a_quiet_round(operator)
                start = len(proxy.seen)
                _wait_for_a_quiet_round(operator)
                assert set(proxy.writes(start)) <= {"PUT leases"}
                assert scene.condition(service, "CRDOutdated") == ("True", "CRDOutdated")
                assert scene.condition(pool, "CRDOutdated") == ("", "")

                install(scene, path, yaml.safe_load(crd.read_text()))
                scene.wait_condition(service, "CRDOutdated", "", "")
                (item,) = _slices_of(scene, "web")
                assert item["spec"]["service"]["persistence"]["timeoutSeconds"] == 60
    finally:
        install(scene, path, yaml.safe_load(crd.read_text()))


def install(scene: World, path: str, crd: Json) -> None:
    answer = scene.server.request(
        "PATCH", f"{path}?fieldManager=test&force=true", crd, content_type="application/apply-patch+yaml"
    )
    answer.raise_for_status()


def test_nothing_is_taken_away_while_a_kind_cannot_be_listed(scene: World) -> None:
    with running_operator(scene.directory, scene.server.kubeconfig, name="before") as operator:
        kept, _ = scene.create_web("kept", "192.168.4.51")
        doomed, pool = scene.create_web("doomed", "192.168.4.52")
        for service in (kept, doomed):
            scene.wait_condition(service, "Ready", "True", "Ready")
        assert operator.terminate() == 0
    before = scene.generated()
    scene.server.delete(doomed).raise_for_status()
    scene.server.delete(pool).raise_for_status()
    with FaultProxy(scene.server) as proxy:
        kubeconfig = scene.server.write_kubeconfig(scene.directory / "blind.kubeconfig", url=proxy.url)
        with (
            proxy.failing(Fault.FORBIDDEN, only="/lvsrealserverpools"),
            running_operator(scene.directory, kubeconfig, "--check-seconds=1", name="blind", wait=False) as operator,
        ):
            wait_for(lambda: operator.metric("lvs_operator_rounds_total") >= 4, 40, "a few failed rounds")
            status, missing = operator.endpoint("/readyz")
            assert (status, "LvsRealServerPool" in missing) == (503, True)
            assert "lvsrealserverpools: 403" in missing
            assert scene.generated() == before
            assert set(proxy.writes()) <= {"PUT leases", "POST leases"}
            assert operator.terminate() == 0
        with running_operator(scene.directory, kubeconfig, name="sighted"):
            scene.wait_until(lambda: not _slices_of(scene, "doomed"), "the slices of the deleted service to go")
            assert _slices_of(scene, "kept")
            addresses = [
                address["address"] for item in scene.items(NODE) for address in item["spec"].get("addresses") or ()
            ]
            scene.wait_until(lambda: "192.168.4.52" not in _bound(scene), "its address to go")
            assert "192.168.4.51" in addresses


def _slices_of(scene: World, service: str) -> list[Json]:
    return [item for item in scene.items(SERVICE_SLICE) if item["spec"]["serviceRef"]["name"] == service]


def _bound(scene: World) -> set[str]:
    return {address["address"] for item in scene.items(NODE) for address in item["spec"].get("addresses") or ()}
