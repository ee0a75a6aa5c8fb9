"""The agent's side of the API against a real API server: its plan, its report, its Lease, its last view."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from lvs_agent.decide.refused_addresses import ClusterFacts, NodeClaim
from lvs_agent.decide.stored_plan import provisional
from lvs_agent.disk.view_store import ViewStore
from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.api_source import ApiSource, read_plan_once
from lvs_agent.objects.cluster_facts import ClusterFactsReader
from lvs_agent.objects.heartbeat import keep_lease
from lvs_agent.objects.report import StatusReporter
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.conditions import Reason
from lvs_api.lvs_node import LvsNodeStatus
from lvs_api.testing import director_group, lvs_node, service_slice, slice_member, virtual_service
from support.api_server import MERGE, ApiServer, running_api_server
from support.fault_proxy import MUTILATING, Fault, FaultProxy

NODE = "node-1"


@dataclass
class AgentSide:
    """What an agent has of the API."""

    source: ApiSource
    reporter: StatusReporter
    metrics: AgentMetrics
    api: ApiConnection

    def weights(self) -> dict[str, int]:
        """Weights in the plan; empty while there is none."""
        plan = self.source.plan
        return {m.name: m.weight for planned in plan.services() for m in planned.members} if plan else {}

    def status_writes(self) -> float:
        return self.metrics.registry.get_sample_value("lvs_agent_status_writes_total", {"result": "ok"}) or 0.0


@asynccontextmanager
async def agent_side(
    server: ApiServer, state: Path, node: str = NODE, *, kubeconfig: Path | None = None
) -> AsyncIterator[AgentSide]:
    api = ApiConnection.open(kubeconfig or server.kubeconfig)
    metrics = AgentMetrics()
    source = ApiSource(api, node_name=node, store=ViewStore(state / "view"), metrics=metrics, wake=lambda: None)
    source.load()
    reporter = StatusReporter(api, node_name=node, observed=lambda: source.observed_node, metrics=metrics)
    tasks = [asyncio.create_task(source.run()), asyncio.create_task(reporter.run())]
    try:
        yield AgentSide(source, reporter, metrics, api)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await api.close()
        with warnings.catch_warnings():
            # A connection that was being opened when its task was cancelled belongs to nobody: asyncio leaves it to
            # the collector, which would complain in whatever test comes next.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (another process' state)
            await asyncio.sleep(0.02)


def created(server: ApiServer, raw: dict[str, Any]) -> dict[str, Any]:
    return server.create(raw).raise_for_status()


@pytest.fixture
def server(api_server: ApiServer) -> Any:  # noqa: ANN401 (a generator)
    """A director group with one director, and a service with one slice."""
    made = [
        created(api_server, director_group("agents")),
        created(api_server, lvs_node(NODE, addresses=None, directorGroups=["agents"])),
        created(api_server, service_slice("web", directorGroup="agents")),
    ]
    yield api_server
    for raw in made:
        api_server.delete(raw)


def slice_of(server: ApiServer, weight: int) -> None:
    members = [slice_member("rs1", "192.168.4.100", weight=weight)]
    stored = server.get(service_slice("web")).raise_for_status()
    server.replace(stored | {"spec": stored["spec"] | {"members": members}}).raise_for_status()


async def test_the_plan_follows_the_objects(server: ApiServer, tmp_path: Path) -> None:
    async with agent_side(server, tmp_path) as agent:
        await until(lambda: agent.weights() == {"rs1": 1, "rs2": 1})
        slice_of(server, 7)
        await until(lambda: agent.weights() == {"rs1": 7})
        assert agent.source.plan == await read_plan_once(agent.api, NODE)
        created(server, service_slice("other", directorGroup="elsewhere"))
        extra = created(server, service_slice("extra", directorGroup="agents", index=0))
        await until(lambda: len(list(agent.source.plan.services() if agent.source.plan else ())) == 1)
        server.delete(extra)
        server.delete(service_slice("other"))
        node = server.get(lvs_node(NODE)).raise_for_status()
        spec = {"addresses": [{"address": "192.168.4.15", "device": "lo"}]}
        server.replace(node | {"spec": spec}).raise_for_status()
        await until(lambda: bool(agent.source.plan and agent.source.plan.bind and not agent.source.plan.directing))


async def test_addresses_in_use_are_learnt(server: ApiServer, tmp_path: Path) -> None:
    spec = {"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"]}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "elsewhere"}, "spec": spec}
    status = {"status": {"addresses": [{"type": "InternalIP", "address": "192.168.4.77"}]}}
    server.request("POST", "/api/v1/nodes", node).raise_for_status()
    server.request("PATCH", "/api/v1/nodes/elsewhere/status", status, content_type=MERGE).raise_for_status()
    vip = ip_address("192.168.4.15")
    async with agent_side(server, tmp_path) as agent:
        reader = ClusterFactsReader(
            agent.api, node_name=NODE, hosts={agent.api.host}, path=tmp_path / "cluster", wake=lambda: None
        )
        task = asyncio.create_task(reader.run())
        await until(lambda: isinstance(reader.facts_for(vip, {vip}), ClusterFacts))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    facts = reader.facts_for(vip, {vip})
    assert isinstance(facts, ClusterFacts)
    assert facts.nodes[ip_address("192.168.4.77")] == NodeClaim(node="elsewhere")
    assert facts.ranges[ip_network("10.9.0.0/24")] == "the pod range of Node elsewhere"
    assert facts.ranges[ip_network("10.96.0.0/16")] == "the Service range kubernetes"
    assert ip_address("127.0.0.1") in facts.api_servers
    server.request("DELETE", "/api/v1/nodes/elsewhere").raise_for_status()


def services(agent: AgentSide) -> set[str]:
    return {planned.service.name for planned in agent.source.plan.services()} if agent.source.plan else set()


def serve(server: ApiServer, name: str, vip: str) -> None:
    """A service and its slice, as the operator makes it."""
    service = created(server, virtual_service(name, addresses=[vip]))
    raw = service_slice(name, directorGroup="agents", serviceRef={"name": name, "uid": service["metadata"]["uid"]})
    raw["spec"]["service"]["addresses"] = [vip]
    created(server, raw)


@pytest.mark.parametrize("fault", MUTILATING, ids=lambda fault: fault.name)
async def test_a_list_cut_short_takes_nothing_away(server: ApiServer, tmp_path: Path, fault: Fault) -> None:
    server.delete(service_slice("web")).raise_for_status()  # of no service that is there
    for name, vip in (("first", "192.168.4.16"), ("last", "192.168.4.17")):
        serve(server, name, vip)
    with FaultProxy(server) as proxy:
        kubeconfig = server.write_kubeconfig(tmp_path / "proxied", url=proxy.url)
        async with agent_side(server, tmp_path, kubeconfig=kubeconfig) as agent:
            await until(lambda: services(agent) == {"first", "last"})
            with proxy.failing(fault, only="v1alpha1/lvsserviceslices"):
                if fault is Fault.CUT_SHORT:
                    await until(lambda: agent.metrics.registry.get_sample_value("lvs_agent_api_up") == 0)
                else:
                    await until(lambda: agent.source.withheld.removal is not None)
                    assert agent.source.withheld.removal.reason is Reason.SERVICE_EXISTS  # type: ignore[union-attr]  # waited for above
                assert services(agent) == {"first", "last"}
            server.delete(virtual_service("first")).raise_for_status()
            server.delete(service_slice("first")).raise_for_status()
            await until(lambda: services(agent) == {"last"})
    for raw in (virtual_service("last"), service_slice("last")):
        server.delete(raw).raise_for_status()


async def test_a_node_without_an_object_has_no_plan(server: ApiServer, tmp_path: Path) -> None:
    async with agent_side(server, tmp_path, "stranger") as agent:
        await until(lambda: agent.metrics.registry.get_sample_value("lvs_agent_api_up") == 1)
        assert agent.source.plan is None


async def test_the_status_is_written_once_and_repaired(server: ApiServer, tmp_path: Path) -> None:
    status = LvsNodeStatus(boot_id="boot", exceptions=[], addresses=[])
    async with agent_side(server, tmp_path) as agent:
        await until(lambda: agent.source.observed_node is not None)

        async def told(reason: Callable[[], bool]) -> None:
            async with asyncio.timeout(30):
                while not reason():
                    agent.reporter.tell(status)
                    await asyncio.sleep(0.02)

        def stored() -> Any:  # noqa: ANN401 (raw JSON)
            return server.get(lvs_node(NODE)).raise_for_status().get("status")

        await told(lambda: (stored() or {}).get("bootId") == "boot")
        await told(lambda: (agent.source.observed_node or {}).get("status") is not None)
        for _ in range(50):
            agent.reporter.tell(status)
            await asyncio.sleep(0.005)
        assert agent.status_writes() == 1
        managers = server.get(lvs_node(NODE)).raise_for_status()["metadata"]["managedFields"]
        assert ("lvs-agent", "status") in {(m["manager"], m.get("subresource")) for m in managers}
        tampered = server.get(lvs_node(NODE)).raise_for_status() | {"status": {"bootId": "wrong"}}
        server.replace(tampered, subresource="/status").raise_for_status()
        await told(lambda: stored() == {"bootId": "boot", "exceptions": [], "addresses": [], "truncated": False})
        await until(lambda: agent.status_writes() >= 2)  # counted when the answer is there
        assert agent.status_writes() == 2


async def test_the_lease_is_renewed(server: ApiServer, tmp_path: Path) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lvs-system"}}
    server.request("POST", "/api/v1/namespaces", namespace)
    path = "/apis/coordination.k8s.io/v1/namespaces/lvs-system/leases/lvs-agent-node-1"
    async with agent_side(server, tmp_path) as agent:
        task = asyncio.create_task(keep_lease(agent.api, namespace="lvs-system", node_name=NODE))
        await until(lambda: server.request("GET", path).status == 200)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        first = server.request("GET", path).raise_for_status()["spec"]
        assert first["holderIdentity"] == NODE
        task = asyncio.create_task(keep_lease(agent.api, namespace="lvs-system", node_name=NODE))
        await until(lambda: server.request("GET", path).raise_for_status()["spec"]["renewTime"] != first["renewTime"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_last_view_serves_while_the_api_server_is_away(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "server").mkdir()
    with running_api_server(tmp_path / "server") as server:
        server.install_crds()
        created(server, director_group("agents"))
        created(server, lvs_node(NODE, addresses=None, directorGroups=["agents"]))
        created(server, service_slice("web", directorGroup="agents"))
        async with agent_side(server, state) as agent:
            await until(lambda: agent.weights() == {"rs1": 1, "rs2": 1})
            plan = agent.source.plan
            await until((state / "view").exists)
            server.stop_api()
            await until(lambda: agent.metrics.registry.get_sample_value("lvs_agent_api_up") == 0)
            assert agent.source.plan is plan
        async with agent_side(server, state) as agent:
            assert plan is not None
            assert agent.source.plan == provisional(plan), "from the disk, before anything was asked"
            await asyncio.to_thread(server.start)
            slice_of(server, 9)
            await until(lambda: agent.weights() == {"rs1": 9}, 60)
