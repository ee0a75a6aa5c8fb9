"""What is learnt from the API server about addresses in use, when it is asked, and what counts when it is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.refused_addresses import ClusterFacts, NodeClaim
from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects import cluster_facts
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused
from lvs_agent.objects.cluster_facts import ClusterFactsReader, distil

VIP, OTHER = ip_address("192.168.4.15"), ip_address("192.168.4.16")
NODES, LVS_NODES = "/api/v1/nodes", "/apis/lvs-operator.io/v1alpha1/lvsnodes"
SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
API_SERVERS = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


def node(name: str, *addresses: str, **spec: Any) -> dict[str, Any]:
    named = [{"type": "InternalIP", "address": one} for one in addresses]
    return {"metadata": {"name": name, "uid": name}, "spec": spec, "status": {"addresses": named}}


def lvs_node(name: str, spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name}} | ({"spec": spec} if spec else {}) | ({"status": status} if status else {})


def claims(facts: ClusterFacts) -> dict[str, NodeClaim]:
    return {str(address): claim for address, claim in facts.nodes.items()}


def test_addresses_of_other_nodes_count() -> None:
    facts = distil([node("n1", "10.0.0.1"), node("n2", "10.0.0.2", "2001:db8::2", "a-name")], [], [], own_node="n1")
    assert claims(facts) == {"10.0.0.2": NodeClaim(node="n2"), "2001:db8::2": NodeClaim(node="n2")}


@pytest.mark.parametrize(("state", "known"), [("Bound", {"10.0.0.2"}), ("Failed", {"10.0.0.2", "192.168.4.15"})])
def test_what_a_real_server_says_it_has_bound_is_no_address_of_its_own(state: str, known: set[str]) -> None:
    spec = {"addresses": [{"address": "192.168.4.15", "device": "lo"}]}
    status = {"addresses": [{"address": "192.168.4.15", "device": "lo", "state": state}]}
    nodes = [node("n2", "10.0.0.2", "192.168.4.15")]
    assert claims(distil(nodes, [lvs_node("n2", spec, status)], [], own_node="n1")).keys() == known


@pytest.mark.parametrize("holds", [True, False])
def test_who_carries_addresses_of_a_group_is_known_as_such(*, holds: bool) -> None:
    spec, status = {"directorGroups": ["a"]}, {"directorGroups": [{"name": "a", "holdsAddresses": holds}]}
    facts = distil([node("n2", "10.0.0.2")], [lvs_node("n2", spec, status)], [], own_node="n1")
    assert claims(facts) == {"10.0.0.2": NodeClaim(node="n2", carries=holds)}


def test_what_a_director_has_let_go_is_not_its_own() -> None:
    """What reports a Node's addresses (a kubelet, a cloud's controller) is up to minutes late; the next one waits."""
    status = {"directorGroups": [{"name": "a", "holdsAddresses": False}], "ownAddresses": ["10.0.0.2"]}
    nodes = [node("n2", "10.0.0.2", "192.168.4.15")]
    facts = distil(nodes, [lvs_node("n2", {"directorGroups": ["a"]}, status)], [], own_node="n1")
    assert claims(facts) == {
        "10.0.0.2": NodeClaim(node="n2"),
        "192.168.4.15": NodeClaim(node="n2", carries=True),
    }


def test_a_director_s_own_addresses_are_told_from_what_it_carries() -> None:
    status = {"directorGroups": [{"name": "a", "holdsAddresses": True}], "ownAddresses": ["10.0.0.2", "2001:db8::2"]}
    nodes = [node("n2", "10.0.0.2", "192.168.4.15", "2001:db8::2")]
    facts = distil(nodes, [lvs_node("n2", {"directorGroups": ["a"]}, status)], [], own_node="n1")
    assert claims(facts) == {
        "10.0.0.2": NodeClaim(node="n2"),
        "192.168.4.15": NodeClaim(node="n2", carries=True),
        "2001:db8::2": NodeClaim(node="n2"),
    }


def test_ranges_of_pods_and_services_count() -> None:
    service = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00:96::/108"]}}
    nodes = [node("n1", podCIDRs=["10.1.1.0/24", "fd00:1::/64"]), node("n2", podCIDRs=["10.1.2.0/24"]), node("n3")]
    assert distil(nodes, [], [service], own_node="n1").ranges == {
        ip_network("10.1.1.0/24"): "the pod range of Node n1",
        ip_network("fd00:1::/64"): "the pod range of Node n1",
        ip_network("10.1.2.0/24"): "the pod range of Node n2",
        ip_network("10.96.0.0/16"): "the Service range kubernetes",
        ip_network("fd00:96::/108"): "the Service range kubernetes",
    }


class Api(ApiConnection):
    """Lists what it was given, two a page; a list that is an error is refused. One object is told by name."""

    def __init__(self) -> None:
        super().__init__(httpx2.AsyncClient(base_url="https://10.0.0.100:6443"))
        self.lists: dict[str, list[Any] | ApiUnavailable] = {
            NODES: [node(f"n{number}", f"10.0.0.{number}") for number in range(1, 6)],
            LVS_NODES: [],
            SERVICE_CIDRS: ApiRefused(404, "the server could not find the requested resource"),
        }
        self.api_servers: dict[str, Any] | ApiUnavailable = {
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.101"]}, {"addresses": ["10.0.0.102"]}],
        }
        self.reads = 0

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        if path == API_SERVERS:
            if isinstance(self.api_servers, ApiUnavailable):
                raise self.api_servers
            return self.api_servers
        listed = self.lists[path]
        if isinstance(listed, ApiUnavailable):
            raise listed
        begin = int((params or {}).get("continue", "0"))
        self.reads += path == NODES and begin == 0
        end = begin + 2
        following = {"continue": str(end)} if end < len(listed) else {}
        return {"items": listed[begin:end], "metadata": {"resourceVersion": "1", **following}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_facts, "_FIRST_DELAY", 0.01)


@asynccontextmanager
async def reading(api: Api, directory: Path) -> AsyncIterator[ClusterFactsReader]:
    reader = ClusterFactsReader(
        api, node_name="n1", hosts={api.host, "10.96.0.1"}, path=directory / "cluster", wake=lambda: None
    )
    reader.load()
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (another task's state)
            await asyncio.sleep(0.005)


def known(reader: ClusterFactsReader, *addresses: IPAddress) -> ClusterFacts | None:
    """What the last of the addresses is judged by, if anything."""
    facts = reader.facts_for(addresses[-1], frozenset(addresses))
    return None if isinstance(facts, Fault) else facts


async def test_a_new_address_waits_until_the_whole_list_was_read_for_it(tmp_path: Path) -> None:
    api = Api()
    async with reading(api, tmp_path) as reader:
        first = reader.facts_for(VIP, {VIP})
        assert isinstance(first, Fault)
        assert first.reason == "Pending"
        await until(lambda: known(reader, VIP) is not None)
        facts = known(reader, VIP)
        assert facts is not None
        assert {str(one) for one in facts.nodes} == {"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}
        assert {str(one) for one in facts.api_servers} == {"10.0.0.100", "10.96.0.1", "10.0.0.101", "10.0.0.102"}
        assert api.reads == 1
        assert known(reader, VIP) is facts
        assert known(reader, VIP, OTHER) is None
        assert known(reader, VIP) is facts, "what was judged before is not held up"
        await until(lambda: known(reader, VIP, OTHER) is not None)
        assert api.reads == 2


async def test_nothing_is_listed_for_a_node_that_takes_nothing(tmp_path: Path) -> None:
    api = Api()
    async with reading(api, tmp_path):
        await asyncio.sleep(0)
        assert api.reads == 0


@pytest.mark.parametrize("path", [NODES, LVS_NODES, SERVICE_CIDRS])
async def test_a_list_that_is_refused_is_never_an_empty_one(tmp_path: Path, path: str) -> None:
    api = Api()
    good = api.lists[path] if path != SERVICE_CIDRS else []
    api.lists[path] = ApiRefused(403, f"may not list {path}")
    async with reading(api, tmp_path) as reader:
        reader.facts_for(VIP, {VIP})
        await until(lambda: said(reader).reason == "AddressRefused")
        assert f"403: may not list {path}" in said(reader).message
        api.lists[path] = good
        await until(lambda: known(reader, VIP) is not None)


def said(reader: ClusterFactsReader) -> Fault:
    fault = reader.facts_for(VIP, {VIP})
    assert isinstance(fault, Fault)
    return fault


async def test_what_was_learnt_serves_after_a_start_without_the_api_server(tmp_path: Path) -> None:
    async with reading(Api(), tmp_path) as reader:
        reader.facts_for(VIP, {VIP})
        await until(lambda: known(reader, VIP) is not None)
        learnt = known(reader, VIP)
    api = Api()
    api.lists[NODES] = ApiUnavailable("no route to host")
    async with reading(api, tmp_path) as reader:
        assert known(reader, VIP) == learnt, "at once, before anything was asked"
        await until(lambda: known(reader, VIP, OTHER) is not None)
        assert known(reader, VIP, OTHER) == learnt, "the last that was known, for what is new"


async def test_a_restarted_agent_learns_anew(tmp_path: Path) -> None:
    async with reading(Api(), tmp_path) as reader:
        reader.facts_for(VIP, {VIP})
        await until(lambda: known(reader, VIP) is not None)
    api = Api()
    api.lists[NODES] = [node("n9", "10.0.0.9")]
    async with reading(api, tmp_path) as reader:
        await until(lambda: set(map(str, (known(reader, VIP) or ClusterFacts()).nodes)) == {"10.0.0.9"})


async def test_a_damaged_file_is_learnt_anew(tmp_path: Path) -> None:
    (tmp_path / "cluster").write_text("1 0\n{}\n")
    async with reading(Api(), tmp_path) as reader:
        assert known(reader, VIP) is None
        await until(lambda: known(reader, VIP) is not None)


async def test_the_api_servers_name_is_looked_up(tmp_path: Path) -> None:
    reader = ClusterFactsReader(Api(), node_name="n1", hosts={"localhost"}, path=tmp_path / "c", wake=lambda: None)
    assert ip_address("127.0.0.1") in (await reader._read()).api_servers


async def api_servers_known(api: Api, directory: Path) -> set[str]:
    reader = ClusterFactsReader(api, node_name="n1", hosts={"10.96.0.1"}, path=directory / "c", wake=lambda: None)
    return {str(one) for one in (await reader._read()).api_servers}


@pytest.mark.parametrize(
    "told", [ApiRefused(404, 'endpointslices "kubernetes" not found'), {"endpoints": None}, {"endpoints": []}]
)
async def test_api_servers_may_say_nothing_of_themselves(tmp_path: Path, told: dict[str, Any] | ApiUnavailable) -> None:
    api = Api()
    api.api_servers = told
    assert await api_servers_known(api, tmp_path) == {"10.96.0.1"}


@pytest.mark.parametrize(
    "told", [ApiRefused(403, "may not get it"), {}, {"endpoints": [{}]}, {"endpoints": [{"addresses": ["a-name"]}]}]
)
async def test_addresses_of_api_servers_that_can_not_be_read_are_not_none(
    tmp_path: Path, told: dict[str, Any] | ApiUnavailable
) -> None:
    api = Api()
    api.api_servers = told
    with pytest.raises(ApiUnavailable):
        await api_servers_known(api, tmp_path)


def older_role() -> Api:
    """Agents whose role does not have the right that came last."""
    api = Api()
    api.api_servers = ApiRefused(403, 'endpointslices.discovery.k8s.io "kubernetes" is forbidden')
    return api


async def test_with_an_older_role_an_agent_that_knows_something_goes_by_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with reading(Api(), tmp_path) as reader:
        reader.facts_for(VIP, {VIP})
        await until(lambda: known(reader, VIP) is not None)
        learnt = known(reader, VIP)
    api = older_role()
    async with reading(api, tmp_path) as reader:
        await until(lambda: api.reads > 2)
        assert known(reader, VIP) == learnt
        assert known(reader, VIP, OTHER) == learnt
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    wanted = (
        'which addresses are in use is not known anew: 403: endpointslices.discovery.k8s.io "kubernetes" is forbidden'
    )
    assert warnings == [wanted], "once, however often it is tried"


async def test_with_an_older_role_an_agent_that_knows_nothing_takes_nothing_until_it_has_the_right(
    tmp_path: Path,
) -> None:
    api = older_role()
    async with reading(api, tmp_path) as reader:
        reader.facts_for(VIP, {VIP})
        await until(lambda: said(reader).reason == "AddressRefused")
        assert said(reader).message == (
            "nothing is taken before it is known which addresses are in use: "
            '403: endpointslices.discovery.k8s.io "kubernetes" is forbidden'
        )
        api.api_servers = Api().api_servers
        await until(lambda: known(reader, VIP) is not None)


async def test_it_is_read_again_while_an_address_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_facts, "_READ_AGAIN", 0.0)
    api = Api()
    async with reading(api, tmp_path) as reader:
        reader.facts_for(VIP, {VIP})
        await until(lambda: "10.0.0.5" in nodes_known(reader))
        api.lists[NODES] = [node("n2", "10.0.0.2")]
        await until(lambda: nodes_known(reader) == {"10.0.0.2"})


def nodes_known(reader: ClusterFactsReader) -> set[str]:
    facts = known(reader, VIP)
    return {str(one) for one in facts.nodes} if facts else set()
