"""Stands in for the directors of a group where there are no nodes, however many slices there are.

They follow the API server as agents do, by watches, and report what a director reports that has programmed everything:
its position, and members that leave as drained. Each writes at most once a second.
"""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.watch import Reflector, Selection
from lvs_api.api_group import API_VERSION, FIELD_MANAGER_AGENT
from lvs_api.kinds import DIRECTOR_GROUP, NODE, SERVICE_SLICE, Kind
from lvs_api.lvs_node import DirectorReport, DrainedMembers, LvsNodeStatus
from lvs_api.objects import to_raw
from lvs_core.digest import SliceVersion, view_digest

REPORT_SECONDS: Final = 1.0
Raw = dict[str, Any]


class SliceSight(NamedTuple):
    """What of a slice a report speaks of."""

    version: SliceVersion
    service: tuple[str, str]
    leaving: tuple[str, ...]


class StandingDirectors:
    """The directors, in a thread of their own; each has credentials that are bound to its Node."""

    def __init__(self, credentials: Mapping[str, Path]) -> None:
        self._credentials = credentials
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="directors", daemon=True)
        self.slices = 0
        """How many they have acted on."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        apis = {name: ApiConnection.open(path) for name, path in self._credentials.items()}
        first = next(iter(apis.values()))
        slices = Reflector(first, _all(SERVICE_SLICE), _nothing, keep=_sight)
        groups = Reflector(first, _all(DIRECTOR_GROUP), _nothing, keep=lambda raw: raw)
        nodes = Reflector(first, _all(NODE), _nothing, keep=lambda raw: raw)
        followed = [asyncio.create_task(one.run()) for one in (slices, groups, nodes)]
        told: dict[str, Raw] = {}
        while not self._stop.is_set():
            await asyncio.sleep(REPORT_SECONDS)  # their rhythm
            for task in followed:
                if task.done():
                    task.result()
            seen = list(slices.objects().values())
            active = {raw["metadata"]["name"]: raw.get("status", {}).get("active") for raw in groups.objects().values()}
            for raw in list(nodes.objects().values()):
                name = raw["metadata"]["name"]
                status = to_raw(_status(raw, seen, active))
                if slices.complete and told.get(name) != status:
                    body = {"apiVersion": API_VERSION, "kind": NODE.name, "metadata": {"name": name}, "status": status}
                    with suppress(ApiUnavailable):  # told again a second later, as agents do
                        await apis[name].apply(f"{_all(NODE).path}/{name}/status", body, FIELD_MANAGER_AGENT)
                        told[name] = status
            self.slices = len(seen)
        for task in followed:
            task.cancel()
        await asyncio.gather(*followed, return_exceptions=True)
        for api in apis.values():
            await api.close()


def _nothing() -> None:
    """They look by themselves."""


def _all(kind: Kind[Any, Any]) -> Selection:
    return Selection(path=f"/apis/{API_VERSION}/{kind.plural}", kind=kind.name)


def _sight(raw: Raw) -> SliceSight:
    metadata, spec = raw["metadata"], raw["spec"]
    return SliceSight(
        SliceVersion(metadata["uid"], metadata["generation"]),
        (metadata["namespace"], spec["serviceRef"]["name"]),
        tuple(one["name"] for one in spec.get("members") or () if "draining" in one or "former" in one),
    )


def _status(node: Raw, slices: list[SliceSight], active: Mapping[str, str | None]) -> LvsNodeStatus:
    name = node["metadata"]["name"]
    drained: dict[tuple[str, str], list[str]] = {}
    for one in slices:
        if one.leaving:
            drained.setdefault(one.service, []).extend(one.leaving)
    digest = view_digest(one.version for one in slices)
    return LvsNodeStatus(
        boot_id=f"boot-of-{name}",
        observed_generation=node["metadata"]["generation"],
        director_groups=[
            DirectorReport(name=group, view_digest=digest, holds_addresses=active.get(group) == name and bool(slices))
            for group in node["spec"].get("directorGroups") or ()
        ],
        drained=[
            DrainedMembers(namespace=namespace, name=service, members=sorted(names))
            for (namespace, service), names in sorted(drained.items())
        ],
    )
