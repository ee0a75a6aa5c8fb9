"""What GitOps tools see of live objects: judged at each step of a change, applied twice, by two managers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_api.kinds import DIRECTOR_GROUP, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.lvs_node import ServiceException
from lvs_api.testing import real_server_pool, virtual_service
from lvs_lab.artifacts import CHECKOUT
from support.api_server import APPLY, ApiServer, crd_files, object_path
from support.chart_release import render
from support.health_checks import argo_health, flux_health, kstatus
from support.operator_process import running_operator
from support.operator_world import DIRECTORS, World, world

QUICK_START = CHECKOUT / "examples/quick-start"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("gitops"), policies=True) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def operator(scene: World) -> Iterator[None]:
    with running_operator(scene.directory, scene.operator_kubeconfig, "--check-seconds=5", "--count-seconds=1"):
        yield


@pytest.fixture(autouse=True)
def tidy(scene: World) -> Iterator[None]:
    yield
    scene.agents.silent.clear()
    scene.agents.exceptions.clear()
    for kind in (VIRTUAL_SERVICE, REAL_SERVER_POOL):
        for item in scene.items(kind):
            scene.server.delete(item).raise_for_status()
    scene.wait_until(lambda: not scene.items(SERVICE_SLICE), "the slices to go")


def judged(raw: Json) -> tuple[str, str, str]:
    """By kstatus, Argo CD and Flux."""
    return kstatus(raw), argo_health(raw)[0], flux_health(raw)


CURRENT = ("Current", "Healthy", "Current")
WAITS = ("InProgress", "Progressing", "InProgress")
REFUSED = ("InProgress", "Degraded", "Failed")


def wait_judged(scene: World, raw: Json, wanted: tuple[str, str, str]) -> Json:
    """Wait until all three say so; the object as it is then."""
    seen: list[Json] = []

    def says() -> bool:
        now = scene.server.get(raw).raise_for_status()
        assert judged(now) == wanted, now.get("status")
        seen.append(now)
        return True

    scene.wait_until(says, f"{raw['metadata']['name']} to be {wanted}")
    return seen[-1]


def schedulers(scene: World) -> set[str]:
    """What directors are told."""
    return {item["spec"]["service"]["scheduler"] for item in scene.items(SERVICE_SLICE)}


def accepted_generation(scene: World, service: Json) -> int:
    """The generation that the condition Accepted speaks of."""
    (accepted,) = [one for one in scene.status(service)["conditions"] if one["type"] == "Accepted"]
    return int(accepted["observedGeneration"])


def test_a_service_is_current_when_directors_carry_it_out_and_not_before(scene: World) -> None:
    scene.agents.silent = set(DIRECTORS)
    service, pool = scene.create_web()
    assert judged(service) == WAITS
    wait_judged(scene, pool, CURRENT)
    scene.wait_condition(service, "Accepted", "True")
    wait_judged(scene, service, WAITS)
    scene.agents.silent = set()
    wait_judged(scene, service, CURRENT)

    scene.agents.silent = set(DIRECTORS)
    edited = scene.edit(service, scheduler="sed")
    assert judged(edited) == WAITS
    scene.wait_until(lambda: schedulers(scene) == {"sed"}, "directors to be told")
    scene.wait_until(lambda: accepted_generation(scene, service) == 2, "the operator to say so")
    wait_judged(scene, service, WAITS)
    scene.agents.silent = set()
    wait_judged(scene, service, CURRENT)


def test_a_refused_service_and_a_refused_edit_are_failures_at_once(scene: World) -> None:
    service, _ = scene.create_web()
    wait_judged(scene, service, CURRENT)
    second, _ = scene.create_web("second")
    refused = wait_judged(scene, second, REFUSED)
    assert argo_health(refused)[1].startswith("Conflict: ")
    scene.edit(second, addresses=["192.168.4.16"])
    wait_judged(scene, second, CURRENT)
    scene.edit(second, addresses=["192.168.4.15"])
    wait_judged(scene, second, REFUSED)
    assert judged(scene.server.get(service).raise_for_status()) == CURRENT


def test_what_is_named_may_come_later(scene: World) -> None:
    service = scene.server.create(virtual_service("web")).raise_for_status()
    scene.wait_condition(service, "ResolvedRefs", "False", "PoolNotFound")
    wait_judged(scene, service, WAITS)
    scene.server.create(real_server_pool("web")).raise_for_status()
    wait_judged(scene, service, CURRENT)


def test_a_fault_that_a_director_says_is_degraded(scene: World) -> None:
    service, _ = scene.create_web()
    wait_judged(scene, service, CURRENT)
    fault = ServiceException(
        namespace="default", name="web", reason="KernelRefused", message="EINVAL", programmed=False
    )
    scene.agents.exceptions = {"d1": [fault]}
    broken = wait_judged(scene, service, ("InProgress", "Degraded", "InProgress"))
    assert argo_health(broken)[1].startswith("KernelRefused: ")
    scene.agents.exceptions = {}
    wait_judged(scene, service, CURRENT)


def test_a_director_group_is_current_with_a_director_at_work(scene: World) -> None:
    (group,) = scene.items(DIRECTOR_GROUP)
    wait_judged(scene, group, CURRENT)


def applied(server: ApiServer, raw: Json, manager: str) -> Json:
    """Server-side apply that does not force; raises where another manager has a field."""
    path = f"{object_path(raw)}?fieldManager={manager}&fieldValidation=Strict"
    written = {**raw, "metadata": {key: raw["metadata"][key] for key in ("name", "namespace")}}
    return server.request("PATCH", path, written, content_type=APPLY).raise_for_status()


def test_two_managers_share_a_pool_and_the_operator_owns_nothing_but_status(scene: World) -> None:
    server = scene.server
    pool = real_server_pool("web")
    pool["spec"]["realServers"] = [
        {"name": "rs1", "address": "192.168.4.100"},
        {"name": "rs2", "address": "192.168.4.200"},
    ]
    service = virtual_service("web")
    for one in (pool, service):
        applied(server, one, "gitops")
    share = {key: pool[key] for key in ("apiVersion", "kind", "metadata")}
    share["spec"] = {"realServers": [{"name": "rs1", "weight": 9}]}
    weighted = applied(server, share, "autoscaler")
    assert weighted["spec"]["realServers"][0] == {"name": "rs1", "address": "192.168.4.100", "weight": 9}
    again = applied(server, pool, "gitops")
    assert again["metadata"]["generation"] == weighted["metadata"]["generation"]
    assert again["spec"] == weighted["spec"]
    share["spec"] = {"realServers": [{"name": "rs1", "address": "192.168.4.111"}]}
    with pytest.raises(AssertionError, match=r'409: .*"gitops".*address'):
        applied(server, share, "autoscaler")

    scene.wait_condition(service, "Ready", "True", "Ready")
    for raw in (pool, service):
        found = server.get(raw).raise_for_status()
        owners = {(one["manager"], one.get("subresource", "")) for one in found["metadata"]["managedFields"]}
        assert {manager for manager, part in owners if not part} <= {"gitops", "autoscaler"}
        assert {part for manager, part in owners if manager not in {"gitops", "autoscaler"}} == {"status"}
        assert "finalizers" not in found["metadata"]
        assert "annotations" not in found["metadata"]


@pytest.mark.parametrize("mode", ["--server-side=true", "--server-side=false"])
def test_applying_twice_changes_nothing(scene: World, mode: str) -> None:
    files = ["--filename", str(QUICK_START / "web.yaml")]

    def versions() -> dict[str, tuple[str, int]]:
        items = [item for kind in (VIRTUAL_SERVICE, REAL_SERVER_POOL) for item in scene.items(kind)]
        return {item["metadata"]["uid"]: (item["metadata"]["generation"], item["spec"]) for item in items}

    for attempt in range(2):
        done = scene.server.kubectl("apply", mode, *files)
        assert done.returncode == 0, done.stderr
        found = versions()
        assert len(found) == 2
        if attempt == 0:
            before = found
    assert found == before

    def nothing_differs() -> bool:
        done = scene.server.kubectl("diff", mode, *files)
        assert (done.returncode, done.stdout) == (0, "")
        return True

    # Status may still change between the two looks of one diff.
    scene.wait_until(nothing_differs, "no difference")


@pytest.mark.parametrize("mode", ["--server-side=true", "--server-side=false"])
def test_crds_do_not_drift(scene: World, mode: str) -> None:
    files = [f"--filename={file}" for file in crd_files(CHECKOUT / "crds")]
    force = ["--force-conflicts"] if mode.endswith("true") else []
    done = scene.server.kubectl("apply", mode, *force, *files)
    assert done.returncode == 0, done.stderr
    done = scene.server.kubectl("diff", mode, *force, *files)
    assert (done.returncode, done.stdout) == (0, "")


def test_crds_of_one_manager_can_be_applied_by_another(scene: World) -> None:
    """What helm made is brought back with kubectl, without force: what both say is the same, and so no conflict."""
    files = [f"--filename={file}" for file in crd_files(CHECKOUT / "crds")]
    done = scene.server.kubectl("apply", "--server-side", "--field-manager=another", *files)
    assert done.returncode == 0, done.stderr


def test_what_helm_renders_does_not_drift(scene: World, tmp_path: Path) -> None:
    objects = render(tmp_path, "--set=directorGroup.create=false,flowSchema.enabled=true,networkPolicy.enabled=true")
    rendered = tmp_path / "rendered.yaml"
    lasting = [one for one in objects if "helm.sh/hook" not in one["metadata"].get("annotations", {})]
    rendered.write_text(yaml.safe_dump_all(lasting))
    flags = ["--server-side", "--force-conflicts", f"--filename={rendered}"]
    for _ in range(2):
        done = scene.server.kubectl("apply", *flags)
        assert done.returncode == 0, done.stderr
    done = scene.server.kubectl("diff", *flags)
    assert (done.returncode, done.stdout) == (0, "")
