"""The plan's source against a server on which things go missing in every way but the right one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from object_server import API, CLUSTER, CRDS, ObjectServer, crd, path_of, serving
from waiting_for import until

from lvs_agent.disk.view_store import ViewStore
from lvs_agent.objects.api_source import ApiSource
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.api_group import ANNOTATION_RELEASE, GROUP
from lvs_api.conditions import Reason
from lvs_api.testing import VIP, director_group, lvs_node, service_slice, virtual_service

NODE = "node1"
Raw = dict[str, Any]


class Side:
    """A source with what it tells, and the server that it follows."""

    def __init__(self, server: ObjectServer, source: ApiSource, metrics: AgentMetrics) -> None:
        self.server, self.source, self.metrics = server, source, metrics

    def services(self) -> list[str]:
        """The services of the plan."""
        plan = self.source.plan
        return sorted({planned.service.name for planned in plan.services()}) if plan else []

    def reason(self) -> Reason | None:
        """Why something is held."""
        fault = self.source.withheld.removal or self.source.withheld.cluster
        return fault.reason if fault else None

    def held(self) -> float:
        """As the metric says."""
        return self.metrics.registry.get_sample_value("lvs_agent_removals_held") or 0.0

    def release(self, token: str | None) -> None:
        """Annotate the LvsNode as a person does."""
        node = self.server.objects[path_of(lvs_node(NODE))]
        self.server.put({**node, "metadata": {**node["metadata"], "annotations": {ANNOTATION_RELEASE: token}}})


@asynccontextmanager
async def following(server: ObjectServer, state: Path) -> AsyncIterator[Side]:
    metrics = AgentMetrics()
    async with serving(server) as api:
        source = ApiSource(api, node_name=NODE, store=ViewStore(state / "view"), metrics=metrics, wake=lambda: None)
        source.load()
        task = asyncio.create_task(source.run())
        try:
            yield Side(server, source, metrics)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def director() -> Raw:
    return lvs_node(NODE, directorGroups=["default"])


def a_world() -> ObjectServer:
    """A director with two services of two real servers."""
    server = ObjectServer()
    server.put(director(), director_group())
    for name, vip in (("web", VIP), ("mail", "192.168.4.16")):
        raw = service_slice(name)
        raw["spec"]["service"]["addresses"] = [vip]
        server.put(virtual_service(name, addresses=[vip]), raw)
    return server


@asynccontextmanager
async def a_director(state: Path) -> AsyncIterator[Side]:
    async with following(a_world(), state) as side:
        await until(lambda: side.services() == ["mail", "web"])
        await until(lambda: stored_slices(state) == ["mail-0", "web-0"])
        yield side


async def test_a_deleted_service_goes_after_a_look(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        asked = len(side.server.asked)
        side.server.remove(virtual_service("web"), service_slice("web"))
        await until(lambda: side.services() == ["mail"])
        assert path_of(virtual_service("web")) in side.server.asked[asked:]
        assert side.reason() is None
        await until(lambda: stored_slices(tmp_path) == ["mail-0"])


def stored_slices(state: Path) -> list[str]:
    """The names of the slices on disk."""
    view = ViewStore(state / "view").read(NODE)
    return [packed.name for packed in view.slices] if view else []


def a_crd_is_missing(server: ObjectServer) -> None:
    del server.objects[f"{CRDS}/lvsvirtualservices.{GROUP}"]


def a_crd_is_terminating(server: ObjectServer) -> None:
    server.objects[f"{CRDS}/lvsserviceslices.{GROUP}"] = crd(
        "lvsserviceslices", deletionTimestamp="2025-01-02T00:00:00Z"
    )


def a_crd_was_made_anew(server: ObjectServer) -> None:
    server.objects[f"{CRDS}/lvsvirtualservices.{GROUP}"] = crd(
        "lvsvirtualservices", creationTimestamp="2025-01-02T00:00:00Z"
    )


def no_right_to_services(server: ObjectServer) -> None:
    server.refuse("lvsvirtualservices/", 403)


def no_right_to_crds(server: ObjectServer) -> None:
    server.refuse("customresourcedefinitions", 403)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (a_crd_is_missing, Reason.CRD_MISSING),
        (a_crd_is_terminating, Reason.CRD_MISSING),
        (a_crd_was_made_anew, Reason.CRD_MISSING),
        (no_right_to_services, Reason.LOOK_UP_FAILED),
        (no_right_to_crds, Reason.LOOK_UP_FAILED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_in_trouble_nothing_goes(tmp_path: Path, trouble: Callable[[ObjectServer], None], reason: Reason) -> None:
    async with a_director(tmp_path) as side:
        trouble(side.server)
        side.server.remove(virtual_service("web"), service_slice("web"))
        await until(lambda: side.reason() is reason)
        assert (side.services(), side.held()) == (["mail", "web"], 1)
        assert side.source.plan is not None
        (held,) = [key.name for group in side.source.plan.directing for key, _ in group.held]
        assert held == "web"
        edited = service_slice("mail", members=[])
        edited["spec"]["service"] = {**edited["spec"]["service"], "addresses": ["192.168.4.17"]}
        edited["metadata"]["generation"] = 2
        side.server.put(edited)
        await until(lambda: "192.168.4.17" in {str(a) for g in side.source.plan.directing for a in g.addresses})  # type: ignore[union-attr]  # there is a plan
        assert side.services() == ["mail", "web"], "everything else goes on"
    # A restart knows it from the disk, and a person lets it go, once, by the very token.
    async with following(side.server, tmp_path) as side:
        assert side.services() == ["mail", "web"]
        await until(lambda: side.reason() is reason)
        side.release("0123456789abcdef")
        side.release(side.source.withheld.token)
        await until(lambda: side.services() == ["mail"])
        assert (side.reason(), side.held()) == (None, 0)


async def test_a_wrong_token_lets_nothing_go(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        a_crd_is_missing(side.server)
        side.server.remove(service_slice("web"))
        await until(lambda: side.reason() is not None)
        first = side.source.withheld.token
        side.server.remove(service_slice("mail"))
        await until(lambda: side.held() == 2)
        assert side.source.withheld.token != first
        side.release(first)
        side.server.put(director_group(interface="eth7"))
        await until(lambda: side.source.plan.directing[0].interface == "eth7")  # type: ignore[union-attr]  # there is a plan
        assert side.services() == ["mail", "web"]


async def test_a_slice_deleted_by_hand_stays_until_it_is_made_anew(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        side.server.remove(service_slice("web"))
        await until(lambda: side.reason() is Reason.SERVICE_EXISTS)
        anew = service_slice("web")
        anew["metadata"]["uid"] = "anew"
        side.server.put(anew)
        await until(lambda: side.reason() is None)
        assert side.services() == ["mail", "web"]


async def test_a_service_that_is_withdrawn_goes(tmp_path: Path) -> None:
    """Its slices go before this director has heard why: it asks, until the operator has said so."""
    async with a_director(tmp_path) as side:
        side.server.remove(service_slice("web"))
        await until(lambda: side.reason() is Reason.SERVICE_EXISTS)
        refused = virtual_service("web")
        refused["status"] = {"conditions": [{"type": "Accepted", "status": "False", "reason": "NotPermitted"}]}
        side.server.put(refused)
        await until(lambda: side.services() == ["mail"], seconds=90)  # it asks more and more seldom
        assert side.reason() is None


async def test_what_is_held_goes_when_the_trouble_is_over(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        no_right_to_services(side.server)
        side.server.remove(virtual_service("web"), service_slice("web"))
        await until(lambda: side.reason() is Reason.LOOK_UP_FAILED)
        side.server.instead.clear()
        await until(lambda: side.services() == ["mail"])
        assert side.reason() is None


async def test_a_list_without_some_objects_is_found_out(tmp_path: Path) -> None:
    """It is whole in itself: only the owners say that it is not all."""

    def without_web(text: str) -> tuple[int, str]:
        body = json.loads(text)
        body["items"] = [one for one in body["items"] if one["metadata"]["name"] != "web-0"]
        return 200, json.dumps(body)

    async with a_director(tmp_path) as side:
        side.server.instead[f"{API}/lvsserviceslices"] = without_web
        side.server.end_watches()
        await until(lambda: side.reason() is Reason.SERVICE_EXISTS)
        assert side.services() == ["mail", "web"]
        side.server.instead.clear()
        side.server.end_watches()
        await until(lambda: side.reason() is None)
        assert side.services() == ["mail", "web"]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_revoked_right_is_no_empty_list(tmp_path: Path, status: int) -> None:
    async with a_director(tmp_path) as side:
        side.server.refuse("lvsserviceslices", status)
        side.server.end_watches()
        await until(lambda: side.metrics.registry.get_sample_value("lvs_agent_api_up") == 0)
        assert side.services() == ["mail", "web"]
    async with following(side.server, tmp_path) as side:
        await until(lambda: f"{API}/lvsserviceslices" in side.server.asked)
        assert side.services() == ["mail", "web"], "from the disk"
        side.server.remove(virtual_service("web"), service_slice("web"))
        side.server.instead.clear()
        await until(lambda: side.services() == ["mail"])


async def test_another_cluster_is_not_acted_upon_until_a_person_says_so(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        side.server.remove(virtual_service("web"), service_slice("web"))
        await until(lambda: stored_slices(tmp_path) == ["mail-0"])
    other = a_world()
    other.objects[CLUSTER] = {"metadata": {"name": "kube-system", "uid": "cluster-2"}}
    other.remove(virtual_service("mail"), service_slice("mail"))
    async with following(other, tmp_path) as side:
        await until(lambda: side.reason() is Reason.CLUSTER_CHANGED)
        assert side.services() == ["mail"], "as the first cluster said"
        side.release(side.source.withheld.token)
        await until(lambda: side.services() == ["web"])
        assert side.reason() is None
        await until(lambda: stored_slices(tmp_path) == ["web-0"])
    async with following(other, tmp_path) as side:
        await until(lambda: side.metrics.registry.get_sample_value("lvs_agent_api_up") == 1)
        assert (side.services(), side.reason()) == (["web"], None)


async def test_a_cluster_that_changes_under_an_agent_is_found_out(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        side.server.objects[CLUSTER] = {"metadata": {"name": "kube-system", "uid": "cluster-2"}}
        for raw in [virtual_service("web"), service_slice("web")]:
            del side.server.objects[path_of(raw)]
        side.server.end_watches()
        await until(lambda: side.reason() is Reason.CLUSTER_CHANGED)
        assert side.services() == ["mail", "web"]


async def test_a_missing_lvs_node_takes_nothing_away(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        side.server.remove(director())
        await until(lambda: side.reason() is Reason.LVS_NODE_MISSING)
        assert (side.services(), side.held()) == (["mail", "web"], 2)


async def test_a_lvs_node_made_anew_takes_nothing_away(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        side.server.remove(director())
        anew = lvs_node(NODE, addresses=None)
        anew["metadata"]["uid"] = "anew"
        side.server.put(anew)
        await until(lambda: side.reason() is Reason.MADE_ANEW)
        assert side.services() == ["mail", "web"]
        assert [str(bound.address) for bound in side.source.plan.bind] == [VIP]  # type: ignore[union-attr]  # there is a plan
    async with following(side.server, tmp_path) as side:
        await until(lambda: side.reason() is Reason.MADE_ANEW)
        assert side.services() == ["mail", "web"]
        side.server.put({**anew, "spec": director()["spec"]})
        await until(lambda: side.reason() is None)
        edited = {**anew, "spec": {"directorGroups": ["default"]}}
        side.server.put(edited)
        await until(lambda: not side.source.plan.bind)  # type: ignore[union-attr]  # there is a plan


async def test_a_lvs_node_made_anew_is_let_go_by_a_person(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        side.server.remove(director())
        anew = lvs_node(NODE, addresses=None)
        anew["metadata"]["uid"] = "anew"
        side.server.put(anew)
        await until(lambda: side.source.withheld.token is not None)
        side.release(side.source.withheld.token)
        await until(lambda: side.services() == [])
        assert side.reason() is None


async def test_an_edit_of_the_lvs_node_is_the_operators_word(tmp_path: Path) -> None:
    async with a_director(tmp_path) as side:
        side.server.put(lvs_node(NODE))
        await until(lambda: side.services() == [])
        assert side.reason() is None
