"""What `helm uninstall` runs first: the nodes give back what they hold, while there is somebody to tell them.

It takes no service away: where one is left it refuses, and says which. Otherwise, in this order: directors let go of
deleted services, real servers give up their addresses; the release's own director group goes, so
that no Node has a part any more; the agents give back everything else, and the operator takes their LvsNodes and labels
away; the operator's replicas end; the DaemonSet, which they would make again, goes. Each look begins at the first of
these, so it may be ended at any time and run again.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from lvs_api.api_group import API_VERSION, LABEL_NODE_AGENT, LOAD_BALANCER_CLASS
from lvs_api.kinds import DIRECTOR_GROUP, NODE, SERVICE_SLICE, VIRTUAL_SERVICE, Kind
from lvs_api.objects import parse_metadata
from lvs_core.owned_objects import owner_of
from lvs_operator.api_client import BlockingApiClient, read_kubeconfig
from lvs_operator.errors import ApiConflictError, ApiNotFoundError, ApiUnavailableError, OperatorError

LOOK_SECONDS: Final = 1.0
REQUEST_TIMEOUT: Final = 15.0
NAMED: Final = 10
"""So many objects are told by name."""
UNCLEAN: Final = "with --no-hooks, which leaves the nodes as they are, and clean each by `lvs-agent cleanup`"
AGAIN: Final = (
    f"then run `helm uninstall` again; or {UNCLEAN}. `helm rollback RELEASE REVISION` with the present revision takes "
    "the attempt back"
)
Json = dict[str, Any]


class UninstallError(OperatorError):
    """Nothing more can be done without the user."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What of the release goes here; Helm deletes the rest."""

    namespace: str
    deployment: str
    """The operator."""
    daemonset: str
    """The agents."""
    groups: frozenset[str]
    """Director groups that the chart made."""


class Uninstall:
    """Looks, and does the next of the steps that is due."""

    def __init__(self, client: BlockingApiClient, release: Release) -> None:
        self._client = client
        self._release = release

    def run(self, seconds: float, tell: Callable[[str], None]) -> None:
        """Until all is done. Raises UninstallError, also when that took longer, and other subclasses of ApiError."""
        end = time.monotonic() + seconds
        told = ""
        while True:
            try:
                waits_for = self.look()
            except (ApiUnavailableError, ApiConflictError) as error:
                waits_for = f"the API server: {error}"  # a conflict: something else wrote between look and write
            if waits_for is None:
                return
            if waits_for != told:
                tell(f"Waiting for {waits_for}")
                told = waits_for
            if time.monotonic() > end:
                raise UninstallError(
                    f"Not done within {seconds:g} s, still waiting for {waits_for}. Does the operator run, and are "
                    f"these machines on? Run `helm uninstall` again, or {UNCLEAN}."
                )
            time.sleep(LOOK_SECONDS)  # bounded by `seconds`

    def look(self) -> str | None:
        """What is waited for; None when all is done. Raises UninstallError and subclasses of ApiError."""
        self._refuse_what_is_the_users()
        if slices := self._names(SERVICE_SLICE):
            return f"the LvsServiceSlices of deleted services to go: {_listed(slices)}"
        nodes = self._items(NODE)
        if serving := [_name(node) for node in nodes if _serves(node)]:
            return (
                "directors to let go of deleted services, and real servers to give up their addresses: "
                f"{_listed(serving)}"
            )
        for group in self._names(DIRECTOR_GROUP):
            self._delete(f"{_path(DIRECTOR_GROUP)}/{group}")
        labelled = self._client.request("GET", f"/api/v1/nodes?labelSelector={quote(LABEL_NODE_AGENT)}")["items"]
        if left := sorted({_name(node) for node in (*nodes, *labelled)}):
            return f"the agents to give back what they hold: {_listed(left)}"
        if pods := self._end_operator():
            return f"the operator to end: {_listed(pods)}"
        self._delete(f"/apis/apps/v1/namespaces/{self._release.namespace}/daemonsets/{self._release.daemonset}")
        return None

    def _refuse_what_is_the_users(self) -> None:
        virtual_services = self._items(VIRTUAL_SERVICE)
        if makers := [_name(one) for one in virtual_services if _is_made(one)]:
            raise UninstallError(
                f"There are Services of type LoadBalancer and class {LOAD_BALANCER_CLASS}: {_listed(makers)}. Their "
                "addresses would be taken away, and the operator makes their LvsVirtualServices anew: delete these "
                f"Services or give them another type first, {AGAIN}."
            )
        if services := [_name(one) for one in virtual_services]:
            raise UninstallError(
                f"There are LvsVirtualServices: {_listed(services)}. Their addresses would be taken away: delete them "
                f"first (`kubectl delete lvsvirtualservices --all --all-namespaces`), {AGAIN}."
            )
        if others := [name for name in self._names(DIRECTOR_GROUP) if name not in self._release.groups]:
            raise UninstallError(
                f"There are LvsDirectorGroups that are none of this release's values: {_listed(others)}. Their "
                f"directors hold what these set up: delete them first, {AGAIN}."
            )

    def _end_operator(self) -> list[str]:
        """Have it end; the pods that are left of it."""
        namespace = self._release.namespace
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{self._release.deployment}/scale"
        try:
            scale = self._client.request("GET", path)
        except ApiNotFoundError:
            return []
        if scale["spec"].get("replicas"):
            self._client.request("PUT", path, {**scale, "spec": {"replicas": 0}})
        selector = quote(scale["status"]["selector"])
        return [
            _name(pod)
            for pod in self._client.request("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")[
                "items"
            ]
        ]

    def _names(self, kind: Kind[Any, Any]) -> list[str]:
        return [_name(item) for item in self._items(kind)]

    def _items(self, kind: Kind[Any, Any]) -> list[Json]:
        try:
            items: list[Json] = self._client.request("GET", _path(kind))["items"]
        except ApiNotFoundError as error:
            raise UninstallError(
                f"The API server does not know {kind.plural}: without our CRDs nobody tells the nodes to give back "
                f"what they hold. Apply the CRDs and go on in order, or run it {UNCLEAN}."
            ) from error
        return items

    def _delete(self, path: str) -> None:
        try:
            self._client.request("DELETE", path)
        except ApiNotFoundError:
            return


def _path(kind: Kind[Any, Any]) -> str:
    return f"/apis/{API_VERSION}/{kind.plural}"


def _name(raw: Json) -> str:
    namespace = raw["metadata"].get("namespace")
    return f"{namespace}/{raw['metadata']['name']}" if namespace else str(raw["metadata"]["name"])


def _is_made(raw: Json) -> bool:
    """Whether a LvsVirtualService was made of a Service, which has its name."""
    return owner_of(parse_metadata(raw, namespaced=True)) is not None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more


def _serves(node: Json) -> bool:
    """Whether a Node carries an address as a real server, or as a director something of a service: there is none."""
    spec, status = node.get("spec", {}), node.get("status", {})
    return bool(spec.get("addresses") or status.get("addresses") or status.get("exceptions"))


def read_arguments(arguments: Sequence[str]) -> tuple[Release, Path | None, float]:
    """The release, the kubeconfig where it is not the pod's, and the seconds that all may take."""
    parser = argparse.ArgumentParser(prog="python3 -m lvs_operator.uninstall", description="Have the nodes cleaned.")
    parser.add_argument("--namespace", required=True, help="of the release")
    parser.add_argument("--deployment", required=True, help="the operator")
    parser.add_argument("--daemonset", required=True, help="the agents")
    parser.add_argument("--group", action="append", default=[], help="a director group that the release made")
    parser.add_argument("--seconds", type=float, required=True, help="how long all may take")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's ServiceAccount")
    found = parser.parse_args(arguments)
    release = Release(
        namespace=found.namespace,
        deployment=found.deployment,
        daemonset=found.daemonset,
        groups=frozenset(found.group),
    )
    return release, found.kubeconfig, found.seconds


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0 when the nodes hold nothing, 1 with the reason otherwise."""
    release, kubeconfig, seconds = read_arguments(sys.argv[1:])
    try:
        client = BlockingApiClient(read_kubeconfig(kubeconfig), timeout=REQUEST_TIMEOUT)
        try:
            Uninstall(client, release).run(seconds, _say)
        finally:
            client.close()
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _say("No node holds anything any more.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
