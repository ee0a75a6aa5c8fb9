"""Bad input, applied by kubectl beside a service that keeps forwarding: field and reason are named, none is harmed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.host_commands import Completed
from lvs_lab.plain_deployment import RELEASE
from lvs_lab.waiting import wait_for
from support.bad_input import ANNOTATION_BYTES, BAD, VIP, Judged, judged_cases, many_members, refused_cases
from support.deployment import GONE_SECONDS, Deployment
from support.manifests import documents, object_text, pool_text, service_text
from support.quick_start import SERVERS, client, quick_shape, quick_start_lab
from support.quick_start import VIP as WEB_VIP
from support.tables import Shape
from support.traffic import StreamRecord, answers, steady_requests

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
BIG_SECONDS = 120.0
"""For a service with 8,192 kernel entries on each of two directors, on a busy machine."""
CRD = CHECKOUT / "crds" / "lvs-operator.io_lvsserviceslices.yaml"
Json = dict[str, Any]


@dataclass(kw_only=True)
class Scene:
    """The quick start under steady requests."""

    deployment: Deployment
    record: StreamRecord

    def said(self, name: str, type_: str) -> Json:
        """A condition of a service as the operator says it of the present spec; empty before."""
        found = self.deployment.get("lvsvs", name)
        status = found.get("status", {})
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return {}
        return next((dict(one) for one in status["conditions"] if one["type"] == type_), {})

    def wait_said(self, name: str, type_: str, status: str, reason: str) -> str:
        """Wait for a condition; its message."""

        def seen() -> str:
            condition = self.said(name, type_)
            assert (condition.get("status"), condition.get("reason")) == (status, reason), condition
            return str(condition["message"])

        return wait_for(seen, 30, f"{name} to have {type_}={status} {reason}", interval=0.2)

    def check_forwarding(self) -> None:
        """No request of all this time failed, and requests made from now on are answered."""
        before = self.record.requests
        wait_for(lambda: self.record.requests >= before + 3, 10, "three more requests")
        assert self.record.failures == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with (
        quick_start_lab("bad-input", tmp_path_factory.mktemp("bad-input")) as deployment,
        steady_requests(deployment.client_namespace("client"), WEB_VIP) as record,
    ):
        yield Scene(deployment=deployment, record=record)


@pytest.fixture
def scene(running: Scene) -> Iterator[Scene]:
    """Whatever a test applies: the quick start loses no request and keeps its table, and stays Ready."""
    yield running
    running.check_forwarding()
    kept = quick_shape()
    for director in DIRECTORS:
        shape = running.deployment.shape(director)
        assert {key: shape.get(key) for key in kept} == kept


@pytest.fixture
def tidy(scene: Scene) -> Iterator[Scene]:
    """The same for tests that leave objects behind: they are deleted, and nothing of them stays in a kernel."""
    yield scene
    scene.check_forwarding()
    deployment = scene.deployment
    assert deployment.condition("web", "Ready")["status"] == "True"
    for kind, kept in (("lvsvs", "web"), ("lvspool", "web"), ("lvsdg", "default")):
        names = [name for name in deployment.names(kind) if name != kept]
        if names:
            deployment.lab.kubectl("delete", kind, *names)
    for director in DIRECTORS:
        deployment.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)
    wait_for(lambda: len(deployment.names("lvsslice")) == 1, GONE_SECONDS, "the slices to go", interval=0.2)


REFUSED = {f"{BAD}-{number:02}": case for number, case in enumerate(refused_cases())}


@pytest.fixture(scope="module")
def refusals(running: Scene) -> Completed:
    """What kubectl says to one file with all of them."""
    objects = [json.loads(case.text) for case in REFUSED.values()]
    for one, name in zip(objects, REFUSED, strict=True):
        one["metadata"]["name"] = name
    text = documents(*(f"{json.dumps(one)}\n" for one in objects))
    return running.deployment.lab.kubectl("apply", "--server-side", "--filename=-", stdin=text, check=False)


@pytest.mark.parametrize("name", REFUSED, ids=[case.name for case in REFUSED.values()])
def test_kubectl_is_told_field_and_reason(refusals: Completed, name: str) -> None:
    (said,) = [line for line in refusals.stderr.splitlines() if re.search(rf"\b{name}\b", line)]
    assert REFUSED[name].field in said
    assert REFUSED[name].saying in said


def test_nothing_of_what_was_refused_is_there(scene: Scene, refusals: Completed) -> None:
    assert refusals.returncode != 0
    assert refusals.stdout == ""
    for kind in ("lvsvs", "lvspool"):
        assert scene.deployment.names(kind) == ["web"]


@pytest.mark.parametrize("case", judged_cases(), ids=lambda case: case.name)
def test_condition_names_field_and_reason(tidy: Scene, case: Judged) -> None:
    tidy.deployment.apply(case.text)
    message = tidy.wait_said(BAD, case.type, case.status, case.reason)
    for part in case.saying:
        assert part in message
    ready = tidy.said(BAD, "Ready")
    assert (ready["status"], ready["reason"]) == (case.status, case.reason)


def test_served_family_is_served_beside_the_missing_one(tidy: Scene) -> None:
    pool = pool_text(BAD, *SERVERS.values())
    tidy.deployment.apply(documents(pool, service_text(BAD, VIP, "fd00:10::120", pool=BAD)))
    tidy.wait_said(BAD, "ResolvedRefs", "False", "FamilyMismatch")
    wait_for(lambda: answers(client(tidy.deployment), VIP), 20, f"{VIP} to answer")


def test_accepted_service_edited_into_a_conflict_goes_on(tidy: Scene) -> None:
    """The older object asks for what the younger one has; who has it keeps it."""
    deployment = tidy.deployment
    older, younger = VIP, "192.168.10.121"
    deployment.apply(service_text("older", older))
    deployment.wait_ready("older")
    deployment.apply(service_text("younger", younger))
    deployment.wait_ready("younger")
    namespace = deployment.client_namespace("client")
    with steady_requests(namespace, older) as first, steady_requests(namespace, younger) as second:
        deployment.patch("lvsvs", "older", {"addresses": [younger], "scheduler": "lc"})
        message = tidy.wait_said("older", "Accepted", "False", "Conflict")
        assert f"spec.ports[http]: {younger} port 80/TCP belongs to LvsVirtualService default/younger" in message
        assert "What was accepted as generation 1 goes on unchanged" in message
        both: Shape = {**quick_shape(), **quick_shape(vip=older), **quick_shape(vip=younger)}
        for director in DIRECTORS:
            assert deployment.shape(director) == both
        assert tidy.said("younger", "Ready")["status"] == "True"
        deployment.patch("lvsvs", "older", {"addresses": [older], "scheduler": "rr"})
        deployment.wait_ready("older")
    assert first.failures == second.failures == []


def test_service_goes_on_when_its_pool_goes_or_turns_bad(tidy: Scene) -> None:
    deployment = tidy.deployment
    pool = pool_text(BAD, *SERVERS.values())
    deployment.apply(documents(pool, service_text(BAD, VIP, pool=BAD)))
    deployment.wait_ready(BAD)
    kept: Shape = {**quick_shape(), **quick_shape(vip=VIP)}
    with steady_requests(deployment.client_namespace("client"), VIP) as record:
        entries = [{"name": "rs1", "address": SERVERS["server-1"], "port": 8080}]
        deployment.patch("lvspool", BAD, {"realServers": entries})
        assert f"default/{BAD} spec.realServers[rs1].port" in tidy.wait_said(BAD, "Accepted", "False", "PortMismatch")
        for director in DIRECTORS:
            assert deployment.shape(director) == kept
        deployment.delete(pool)
        assert "spec.realServerPoolRef.name" in tidy.wait_said(BAD, "ResolvedRefs", "False", "PoolNotFound")
        for director in DIRECTORS:
            assert deployment.shape(director) == kept
        deployment.apply(pool)
        deployment.wait_ready(BAD)
    assert record.failures == []


def test_director_that_is_not_there(tidy: Scene) -> None:
    """A Node without a machine among the directors is named; the others serve."""
    deployment = tidy.deployment
    labels = {"lvs-operator.io/role": "director", "ghost": "yes"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ghost", "labels": labels}}
    deployment.lab.kubectl("create", "--filename=-", stdin=json.dumps(node))
    try:
        group = object_text("LvsDirectorGroup", BAD, {"nodes": {"selector": {"matchLabels": {"ghost": "yes"}}}})
        deployment.apply(documents(group, service_text(BAD, VIP, more={"directorGroupRef": {"name": BAD}})))
        wait_for(
            lambda: (
                [one["state"] for one in deployment.get("lvsvs", BAD)["status"].get("directors", ())] == ["Unknown"]
            ),
            20,
            "the service to name the director that is not there",
            interval=0.2,
        )
        assert tidy.said(BAD, "Ready")["status"] != "True"
        states = {one["node"]: one["state"] for one in deployment.get("lvsvs", "web")["status"]["directors"]}
        assert states.pop("ghost") == "Unknown"
        assert sorted(states.values()) == ["Active", "Standby"]
        deployment.wait_ready("web")
        assert "ghost" in tidy.said("web", "Programmed")["message"]
    finally:
        deployment.lab.kubectl("delete", "node", "ghost")
    wait_for(
        lambda: len(deployment.get("lvsvs", "web")["status"]["directors"]) == 2,
        20,
        "the ghost to leave the status",
        interval=0.2,
    )


def test_largest_legal_objects_are_programmed(tidy: Scene) -> None:
    """32 ports x 256 real servers, every field and the annotations as long as they may be."""
    deployment = tidy.deployment
    pool = pool_text(BAD, *many_members(256), annotations={"note": "x" * (ANNOTATION_BYTES - 1000)})
    ports = [{"name": f"p{number}", "port": 1000 + number} for number in range(32)]
    service = service_text(BAD, VIP, pool=BAD, ports=ports, more={"forwarding": {"method": "Masquerade"}})
    for text in (pool, service):
        deployment.lab.kubectl("apply", "--server-side", "--filename=-", stdin=text)
    deployment.wait_ready(BAD, deadline=BIG_SECONDS)
    entries = {f"{server['address']}:{{port}}": ("Masq", 65535) for server in many_members(256)}
    wanted: Shape = {
        f"TCP {VIP}:{port['port']} rr": {key.format(port=port["port"]): value for key, value in entries.items()}
        for port in ports
    }
    for director in DIRECTORS:
        deployment.wait_shape(director, {**quick_shape(), **wanted}, deadline=BIG_SECONDS)


def test_crds_older_than_the_operator_are_named(tidy: Scene) -> None:
    deployment = tidy.deployment
    older = yaml.safe_load(CRD.read_text())
    properties = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert properties["service"]["properties"].pop("persistence")
    service = service_text(BAD, VIP, more={"persistence": {"timeoutSeconds": 60}})
    install(deployment, json.dumps(older), with_persistence=False)
    try:
        deployment.apply(service)
        message = tidy.wait_said(BAD, "CRDOutdated", "True", "CRDOutdated")
        assert "spec.service.persistence.timeoutSeconds" in message
        tidy.check_forwarding()
    finally:
        install(deployment, CRD.read_text(), with_persistence=True)
    # What was dropped is tried again at the next comparison with the API server, or when it is edited.
    deployment.patch("lvsvs", BAD, {"persistence": {"timeoutSeconds": 90}})
    wait_for(lambda: persistence_in_slice(deployment) == 90, 30, "the slice to keep what it was given", interval=0.2)
    wait_for(lambda: tidy.said(BAD, "Accepted") and not tidy.said(BAD, "CRDOutdated"), 30, "the condition to go")


def persistence_in_slice(deployment: Deployment) -> int | None:
    """Directors' agents get it when the API server ends the watches of the older CRD: up to two minutes later."""
    (name,) = [name for name in deployment.names("lvsslice") if name.startswith(f"{BAD}-")]
    service = deployment.get("lvsslice", name)["spec"]["service"]
    timeout: int | None = service.get("persistence", {}).get("timeoutSeconds")
    return timeout


def install(deployment: Deployment, crd: str, *, with_persistence: bool) -> None:
    """Change the CRD and wait until the API server goes by it."""
    deployment.lab.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=crd)
    (name,) = [name for name in deployment.names("lvsslice") if name.startswith("web-")]
    patch = '{"spec": {"service": {"persistence": {"timeoutSeconds": 60}}}}'
    # Nobody else may write slices.
    operator = f"--as=system:serviceaccount:{DEFAULT_NAMESPACE}:{RELEASE}"
    command = ["patch", "lvsslice", name, operator, "--type=merge", "--dry-run=server", "--output=json"]
    command += [f"--patch={patch}"]

    def kept() -> bool:
        return "persistence" in json.loads(deployment.lab.kubectl(*command).stdout)["spec"]["service"]

    wait_for(lambda: kept() == with_persistence, 30, "the API server to serve the other CRD", interval=0.2)
