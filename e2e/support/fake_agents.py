"""Stands in for the node agents where there are no nodes: writes LvsNode.status as agents do, by the same API.

Each has a token that is bound to its Node. They say at once that everything is done, unless told otherwise. As real
ones they only report where there is a LvsNode.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

from lvs_api.api_group import LABEL_DIRECTOR_GROUP
from lvs_api.conditions import Reason
from lvs_api.lvs_node import (
    DirectorReport,
    DrainedMembers,
    LvsNodeStatus,
    NodeAddressState,
    NodeAddressStatus,
    ServiceException,
    VirtualRouterReport,
)
from lvs_api.objects import to_raw
from lvs_core.digest import SliceVersion, view_digest
from support.api_server import MERGE, ApiServer
from support.chart_release import AGENT, ask_token

UNAUTHORIZED = 401
NOT_FOUND = 404
LVS_NODES = "/apis/lvs-operator.io/v1alpha1/lvsnodes"
DIRECTOR_GROUPS = "/apis/lvs-operator.io/v1alpha1/lvsdirectorgroups"
SLICES = "/apis/lvs-operator.io/v1alpha1/lvsserviceslices"
Json = dict[str, Any]


class FakeAgents:
    """Agents of all nodes, in a thread of their own with a connection of its own."""

    def __init__(self, server: ApiServer, *, report_seconds: float) -> None:
        self._report_seconds = report_seconds
        self._server = ApiServer(
            directory=server.directory, port=server.port, etcd_port=server.etcd_port, programs=server.programs
        )
        self._tokens: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-agents", daemon=True)
        self.silent: set[str] = set()
        """Nodes whose agent says nothing for now."""
        self.exceptions: dict[str, list[ServiceException]] = {}
        """By node, what to say of single services."""
        self.routers: dict[str, list[VirtualRouterReport]] = {}
        """By node, what to say of virtual routers."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._server.disconnect()

    def _run(self) -> None:
        while not self._stop.wait(self._report_seconds):
            self.report()

    def report(self) -> None:
        """One round of all agents."""
        nodes = self._items(LVS_NODES)
        slices = self._items(SLICES)
        groups = self._items(DIRECTOR_GROUPS)
        active = {group["metadata"]["name"]: group.get("status", {}).get("active", "") for group in groups}
        for node in nodes:
            name = node["metadata"]["name"]
            status = self._status(node, slices, active)
            if name not in self.silent and node.get("status") != status:
                self._write(
                    name, {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "status": status}
                )

    def _write(self, name: str, body: Json) -> None:
        """What is refused is reported again in the next round, as a real agent does."""
        if name not in self._tokens:
            answer = ask_token(self._server, AGENT, bound_to={"kind": "Node", "name": name})
            if answer.status == NOT_FOUND:
                return  # where there is no Node there is no agent either
            self._tokens[name] = answer.raise_for_status()["status"]["token"]
        path = f"{LVS_NODES}/{name}/status?fieldManager=lvs-agent"
        answer = self._server.request("PATCH", path, body, content_type=MERGE, token=self._tokens[name])
        if answer.status == UNAUTHORIZED:
            del self._tokens[name]  # its Node was made anew: other tokens are bound to that

    def _items(self, path: str) -> list[Json]:
        answer = self._server.request("GET", path)
        return answer.body.get("items", []) if answer.status == 200 else []

    def _status(self, node: Json, slices: Sequence[Json], active: Mapping[str, str]) -> Json:
        spec, name = node["spec"], node["metadata"]["name"]
        groups, gives_way = spec.get("directorGroups") or (), spec.get("givesWay") or ()
        return to_raw(
            LvsNodeStatus(
                boot_id=f"boot-of-{name}",
                observed_generation=node["metadata"]["generation"],
                addresses=[
                    NodeAddressStatus(**address, state=NodeAddressState.BOUND)
                    for address in spec.get("addresses") or ()
                ],
                director_groups=[
                    _report(group, slices, holds=active.get(group) == name and group not in gives_way).model_copy(
                        update={"virtual_routers": self.routers.get(name)}
                    )
                    for group in groups
                ],
                drained=_drained(slices) if groups else [],
                exceptions=self.exceptions.get(name, _unready(slices)) if groups else [],
            )
        )


def _report(group: str, slices: Sequence[Json], *, holds: bool) -> DirectorReport:
    own = [one["metadata"] for one in slices if one["metadata"]["labels"][LABEL_DIRECTOR_GROUP] == group]
    digest = view_digest(SliceVersion(meta["uid"], meta["generation"]) for meta in own)
    return DirectorReport(name=group, view_digest=digest, holds_addresses=holds and bool(own))


def _unready(slices: Sequence[Json]) -> list[ServiceException]:
    """Services with members that the slices give no weight; as if every check passed."""
    members: dict[tuple[str, str], list[Json]] = {}
    for one in slices:
        key = (one["metadata"]["namespace"], one["spec"]["serviceRef"]["name"])
        members.setdefault(key, []).extend(one["spec"].get("members") or ())
    found = []
    for (namespace, name), all_members in sorted(members.items()):
        draining = sum("draining" in member for member in all_members)
        ready = sum(
            member["prepared"] and "refused" not in member and "draining" not in member for member in all_members
        )
        if ready < len(all_members):
            reason = Reason.MEMBERS_NOT_READY if ready else Reason.NO_MEMBER_READY
            message = f"{ready} of {len(all_members)} have weight"
            found.append(
                ServiceException(
                    namespace=namespace,
                    name=name,
                    reason=reason,
                    message=message,
                    programmed=True,
                    ready=ready,
                    draining=draining,
                )
            )
    return found


def _drained(slices: Sequence[Json]) -> list[DrainedMembers]:
    drained: dict[tuple[str, str], list[str]] = {}
    for one in slices:
        key = (one["metadata"]["namespace"], one["spec"]["serviceRef"]["name"])
        for member in one["spec"].get("members") or ():
            if "draining" in member or "former" in member:
                drained.setdefault(key, []).append(member["name"])
    return [
        DrainedMembers(namespace=key[0], name=key[1], members=sorted(names)) for key, names in sorted(drained.items())
    ]
