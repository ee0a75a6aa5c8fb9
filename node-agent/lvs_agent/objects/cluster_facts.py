"""What the API server tells of addresses in use: other Nodes, pod and Service ranges, its own. The last of it on disk.

It is read when an address is to be taken that it was not read for, once after a start, and once a minute while one is
not taken; not all the time, for every node lists every Node. An address of which nothing is known waits for it; when it
can not be read, what was known last counts, and with nothing known nothing is taken.
"""

import asyncio
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import IPAddress
from lvs_agent.decide.refused_addresses import ClusterFacts, IPNetwork, NodeClaim
from lvs_agent.disk.state_file import read_state, write_state
from lvs_agent.errors import ApiUnavailable, StateFileDamaged, StateNotWritten
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused
from lvs_api.api_group import API_VERSION
from lvs_api.conditions import Reason
from lvs_api.kinds import NODE
from lvs_api.lvs_node import NodeAddressState
from lvs_api.violations import InvalidObject
from lvs_core.view_objects import node_from_raw

_FORMAT: Final = 1
_NODES: Final = "/api/v1/nodes"
_LVS_NODES: Final = f"/apis/{API_VERSION}/{NODE.plural}"
_SERVICE_CIDRS: Final = "/apis/networking.k8s.io/v1/servicecidrs"
_API_SERVERS: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
"""Each API server writes its address there; a pod is told that of the Service alone."""
_PAGE: Final = 250
_LONGEST_READ: Final = 20.0
_READ_AGAIN: Final = 60.0
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 60.0

Raw = Mapping[str, Any]
_log = logging.getLogger(__name__)


class ClusterFactsReader:
    """Owner of what is known. `wake` is called when something was learnt, or could not be."""

    def __init__(
        self, api: ApiConnection, *, node_name: str, hosts: Iterable[str], path: Path, wake: Callable[[], None]
    ) -> None:
        self._api = api
        self._node_name = node_name
        self._hosts = frozenset(hosts)
        """Of the API server, as addresses or names."""
        self._path = path
        self._wake = wake
        self._facts: ClusterFacts | None = None
        self._covered: frozenset[IPAddress] = frozenset()
        """Addresses for which they were read."""
        self._wanted: frozenset[IPAddress] = frozenset()
        self._asked = asyncio.Event()
        self._read_again = math.inf
        self._failure: str | None = None

    def load(self) -> None:
        """Start from what is on disk."""
        try:
            body = read_state(self._path, _FORMAT)
        except StateFileDamaged as error:
            _log.warning("which addresses are in use has to be learnt anew: %s", error)
            return
        if body is not None:
            self._facts, self._covered = _read_body(body)
            self._asked.set()

    def facts_for(self, address: IPAddress, wanted: AbstractSet[IPAddress]) -> ClusterFacts | Fault:
        """What an address is judged by; a Fault while nothing can be said of it. `wanted` are all of the plan."""
        if time.monotonic() >= self._read_again:
            self._asked.set()
        if address not in self._covered:
            self._wanted = frozenset(wanted)
            self._asked.set()
            if self._failure is None:
                return Fault(reason=Reason.PENDING, message="asking the API server which addresses are in use")
        if self._facts is None:
            return Fault(
                reason=Reason.ADDRESS_REFUSED,
                message=f"nothing is taken before it is known which addresses are in use: {self._failure}",
            )
        return self._facts

    async def run(self) -> None:
        """Read when asked to, until cancelled."""
        delay = _FIRST_DELAY
        while True:
            await self._asked.wait()
            self._asked.clear()
            wanted = self._wanted
            try:
                async with asyncio.timeout(_LONGEST_READ):
                    facts = await self._read()
            except (ApiUnavailable, InvalidObject, TimeoutError) as error:
                failure = str(error) or f"no complete answer within {_LONGEST_READ:.0f} s"
                if failure != self._failure:
                    _log.warning("which addresses are in use is not known anew: %s", failure)
                    self._failure = failure
                    self._wake()
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
                self._asked.set()
                continue
            delay = _FIRST_DELAY
            self._facts, self._covered, self._failure = facts, wanted or self._covered, None
            self._read_again = time.monotonic() + _READ_AGAIN
            self._store(facts)
            self._wake()

    async def _read(self) -> ClusterFacts:
        nodes = [item async for item in self._list(_NODES)]
        lvs_nodes = [item async for item in self._list(_LVS_NODES)]
        try:
            cidrs = [item async for item in self._list(_SERVICE_CIDRS)]
        except ApiRefused as error:
            if not error.not_found:
                raise
            cidrs = []  # Kubernetes before 1.33 has no such kind
        facts = distil(nodes, lvs_nodes, cidrs, own_node=self._node_name)
        connected = [address for host in sorted(self._hosts) for address in await _resolve(host)]
        return replace(facts, api_servers=frozenset(connected) | await self._api_servers())

    async def _api_servers(self) -> frozenset[IPAddress]:
        """What the API servers say of themselves. Raises ApiUnavailable."""
        try:
            found = await self._api.get(_API_SERVERS)
        except ApiRefused as error:
            if not error.not_found:
                raise
            return frozenset()  # as with --endpoint-reconciler-type=none
        try:
            return frozenset(ip_address(one) for entry in found["endpoints"] or () for one in entry["addresses"])
        except (KeyError, TypeError, ValueError) as error:
            raise ApiUnavailable(f"{_API_SERVERS}: no EndpointSlice with addresses") from error

    async def _list(self, path: str) -> AsyncIterator[Raw]:
        params = {"limit": str(_PAGE)}
        while True:
            page = await self._api.get(path, params)
            try:
                items, following = page["items"] or [], page["metadata"].get("continue")
            except (KeyError, AttributeError) as error:
                raise ApiUnavailable(f"{path}: not a list") from error
            for item in items:
                yield item
            if not following:
                return
            params["continue"] = following

    def _store(self, facts: ClusterFacts) -> None:
        try:
            write_state(self._path, _FORMAT, _body(facts, self._covered))
        except StateNotWritten as error:
            _log.warning("which addresses are in use is not stored: %s", error)


def distil(nodes: Iterable[Raw], lvs_nodes: Iterable[Raw], cidrs: Iterable[Raw], *, own_node: str) -> ClusterFacts:
    """What of these raw objects counts. Raises InvalidObject.

    This node's own addresses are not among them: the kernel knows them better, and a kubelet may report a VIP that was
    bound before the last boot.
    """
    parts = {raw["metadata"]["name"]: raw for raw in lvs_nodes}
    claims: dict[IPAddress, NodeClaim] = {}
    ranges: dict[IPNetwork, str] = {}
    for raw in nodes:
        node = node_from_raw(raw)
        for cidr in raw.get("spec", {}).get("podCIDRs") or ():
            ranges[ip_network(cidr, strict=False)] = f"the pod range of Node {node.name}"
        if node.name == own_node:
            continue
        part = parts.get(node.name, {})
        # What its agent says, not what it was told: whoever forges a spec is not to open the way to an address.
        said = _listed(part, "status", "addresses")
        bound = {one["address"] for one in said if one["state"] == NodeAddressState.BOUND}
        groups, own = _listed(part, "status", "directorGroups"), _listed(part, "status", "ownAddresses")
        # One that has just let a VIP go does not hold it, while what reports its Node's addresses is minutes late.
        carries = bool(groups and own) or any(one.get("holdsAddresses") for one in groups)
        for address in node.addresses:
            if address not in bound:
                claim = NodeClaim(node=node.name, carries=carries and address not in own)
                claims.setdefault(ip_address(address), claim)
    for raw in cidrs:
        for cidr in _listed(raw, "spec", "cidrs"):
            ranges[ip_network(cidr, strict=False)] = f"the Service range {raw['metadata']['name']}"
    return ClusterFacts(nodes=claims, ranges=ranges)


def _listed(raw: Raw, half: str, name: str) -> list[Any]:
    return (raw.get(half) or {}).get(name) or []


async def _resolve(host: str) -> list[IPAddress]:
    """The addresses of a host that is an address or a name. Raises ApiUnavailable."""
    try:
        return [ip_address(host.strip("[]"))]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ApiUnavailable(f"the API server's name {host} has no address: {error.strerror}") from error
    return sorted({ip_address(entry[4][0]) for entry in found}, key=str)


def _body(facts: ClusterFacts, covered: frozenset[IPAddress]) -> dict[str, Any]:
    return {
        "covered": sorted(map(str, covered)),
        "nodes": {str(a): [c.node, c.carries] for a, c in facts.nodes.items()},
        "ranges": {str(network): what for network, what in facts.ranges.items()},
        "apiServers": sorted(map(str, facts.api_servers)),
    }


def _read_body(body: Mapping[str, Any]) -> tuple[ClusterFacts, frozenset[IPAddress]]:
    facts = ClusterFacts(
        nodes={
            ip_address(address): NodeClaim(node=node, carries=carries)
            for address, (node, carries) in body["nodes"].items()
        },
        ranges={ip_network(network): what for network, what in body["ranges"].items()},
        api_servers=frozenset(map(ip_address, body["apiServers"])),
    )
    return facts, frozenset(map(ip_address, body["covered"]))
