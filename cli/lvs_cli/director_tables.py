"""The IPVS tables and connections of directors, from their agents, without a shell on the node.

An agent listens on its node's network. It is reached through the API server, as a pod (right `get` on `pods/proxy` in
the agents' namespace) or, where it runs outside of a pod, by its Node (`nodes/proxy`, which opens the kubelet, too); or
directly at an address that the user gives. Whoever is not reached is named, and keeps nobody else away.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

import httpx2
from pydantic import ValidationError

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_api.director_table import DirectorConnections, DirectorTable
from lvs_api.kinds import NODE
from lvs_cli.cluster import TIMEOUT_SECONDS, Cluster
from lvs_cli.errors import CliError

DEFAULT_METRICS_PORT: Final = 9460
AGENT_SELECTOR: Final = "app.kubernetes.io/component=node-agent"
_AT_ONCE: Final = 8
_PageT = TypeVar("_PageT", DirectorTable, DirectorConnections)


class Through(StrEnum):
    """How the API server reaches an agent."""

    PODS = "pods"
    NODES = "nodes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Which directors are asked, and how they are reached."""

    directors: Sequence[str] = ()
    """All of the cluster when empty, or those of `urls` where there are any."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Where to ask, by director, in place of the API server."""
    through: Through = Through.PODS
    agent_namespace: str = DEFAULT_NAMESPACE
    metrics_port: int = DEFAULT_METRICS_PORT


@dataclass(frozen=True, kw_only=True, slots=True)
class Told(Generic[_PageT]):
    """What directors told, in the order of their names, and who did not and why."""

    pages: tuple[_PageT, ...]
    failures: tuple[str, ...]


class _Ask(Protocol):
    def __call__(self, director: str) -> bytes:
        """What its agent answers. Raises CliError."""


def ask_directors(way: Way, open_cluster: Callable[[], Cluster], path: str, page: type[_PageT]) -> Told[_PageT]:
    """What every wanted director's agent tells at a path. Raises CliError where it is not known whom to ask."""
    names = way.directors or sorted(way.urls)
    cluster = None
    if not names or not way.urls.keys() >= set(names):
        cluster = open_cluster()
        names = known_directors(cluster, names)
    ask = _asker(way, cluster, names, path)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        answers = list(threads.map(lambda name: _page(name, ask, page), names))
    return Told(
        pages=tuple(one for one in answers if isinstance(one, page)),
        failures=tuple(one for one in answers if isinstance(one, str)),
    )


def known_directors(cluster: Cluster, names: Sequence[str]) -> list[str]:
    """These directors, or all of the cluster. Raises CliError for one that is none, and where there is none."""
    directors = [
        node.metadata.name
        for node in cluster.list(NODE)
        if node.spec.director_groups or (node.status is not None and node.status.director_groups)
    ]
    if not directors:
        raise CliError("there is no director; LvsDirectorGroup.spec.nodes says which Nodes are, kubectl get lvsdg")
    for name in names:
        if name not in directors:
            raise CliError(f"there is no director {name}; there are {', '.join(directors)}")
    return list(names) or directors


def _asker(way: Way, cluster: Cluster | None, names: Sequence[str], path: str) -> _Ask:
    pods: Mapping[str, str] = {}
    if cluster is not None and way.through is Through.PODS and not way.urls.keys() >= set(names):
        pods = cluster.pods_by_node(way.agent_namespace, AGENT_SELECTOR)

    def ask(director: str) -> bytes:
        if (url := way.urls.get(director)) is not None:
            return _fetch(url, path)
        if cluster is None:
            raise CliError("no way to it is known")
        if way.through is Through.NODES:
            return cluster.read(f"api/v1/nodes/{director}:{way.metrics_port}/proxy{path}")
        if director not in pods:
            raise CliError(
                f"no agent's pod runs there in namespace {way.agent_namespace} (--agent-namespace); for an agent "
                "outside of a pod use --through nodes or --metrics-url"
            )
        pod = f"{pods[director]}:{way.metrics_port}"
        return cluster.read(f"api/v1/namespaces/{way.agent_namespace}/pods/{pod}/proxy{path}")

    return ask


def _page(name: str, ask: _Ask, page: type[_PageT]) -> _PageT | str:
    try:
        told = page.model_validate_json(ask(name))
    except CliError as error:
        return f"{name}: {error}"
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        return f"{name}: what answers there is no agent of this plug-in's version: {place}: {found['msg']}"
    if told.node != name:
        return f"{name}: the agent that answers there is that of {told.node}"
    return told


def _fetch(url: str, path: str) -> bytes:
    try:
        response = httpx2.get(url.rstrip("/") + path, timeout=TIMEOUT_SECONDS)
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise CliError(f"{url} does not answer: {error}") from error
    if not response.is_success:
        raise CliError(f"{url} says {response.status_code}: {' '.join(response.text[:300].split())}")
    return response.content
