"""A program's way to the modelled API server, and what goes wrong on it."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from simulation.model_api import KINDS, PAGE, Change, ModelApi, NoAnswerError, Raw, RefusedError, read_path

BOOKMARK_SECONDS: Final = 60.0
KUBE_SYSTEM: Final = "/api/v1/namespaces/kube-system"
CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/lvs-system/leases"
SERVICE_CIDRS: Final = "/apis/networking.k8s.io/v1/servicecidrs"
API_SERVERS: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
SLOWEST_ANSWER: Final = 0.02
_GONE: Final = 410
Selected = Callable[[Raw], bool]


@dataclass
class Reach:
    """One program's way to the API server."""

    cut: bool = False
    """Nothing gets through."""
    silent: bool = False
    """Watches stay open and bring nothing."""
    lag: float = 0.0
    """Seconds by which watches are behind."""
    loses_answers: bool = False
    """Writes are made, and nobody says so."""
    epoch: int = 0
    """Connections of an earlier one are dead."""
    replay: int = 0
    """So many events of the past come once more with the next watch."""

    def reset(self) -> None:
        """Every connection ends; new ones are possible."""
        self.epoch += 1


class Wire:
    """Requests take time, and may find nobody."""

    def __init__(self, api: ModelApi, reach: Reach, rng: Random) -> None:
        self.api = api
        self.reach = reach
        self.rng = rng
        self.snapshots: dict[str, tuple[list[Raw], int]] = {}

    async def pass_through(self) -> None:
        """There or back. Raises NoAnswerError."""
        await asyncio.sleep(self.rng.uniform(0.0005, SLOWEST_ANSWER))
        self.check()

    def check(self) -> None:
        """Raises NoAnswerError where nobody would."""
        if self.reach.cut or not self.api.up:
            raise NoAnswerError

    async def write(self, make: Callable[[], Any]) -> Any:  # noqa: ANN401 (JSON)
        """A write, of which the answer may be lost."""
        await self.pass_through()
        answer = make()
        await self.pass_through()
        if self.reach.loses_answers:
            raise NoAnswerError
        return answer

    async def read(self, path: str) -> Raw:
        """One object."""
        await self.pass_through()
        if path == KUBE_SYSTEM:
            return {"metadata": {"name": "kube-system", "uid": self.api.cluster_uid}}
        if path.startswith(CRDS):
            return self.api.crd(path.removeprefix(CRDS).partition(".")[0])
        if path == API_SERVERS:
            return {"addressType": "IPv4", "endpoints": []}
        place = read_path(path)
        return self.api.get(place.plural, place.key)

    async def page(self, path: str, parameters: Mapping[str, str]) -> Raw:
        """A page of a list, all pages as of one moment."""
        await self.pass_through()
        if path in {LEASES, SERVICE_CIDRS}:
            return {
                "metadata": {"resourceVersion": "1"},
                "items": list(self.api.leases.values()) if path == LEASES else [],
            }
        plural = read_path(path).plural
        token, _, start = parameters.get("continue", "").rpartition("@")
        if token:
            if token not in self.snapshots:
                raise RefusedError(410, "the continue parameter is too old")
            found, version = self.snapshots[token]
        else:
            found = list(self._listed(plural, parameters))
            version = self.api.version
            token = f"{plural}-{version}-{self.rng.random()}"
        begin = int(start or 0)
        items, rest = found[begin : begin + PAGE], len(found) > begin + PAGE
        metadata: Raw = {"resourceVersion": str(version)}
        if rest:
            self.snapshots[token] = (found, version)
            metadata["continue"] = f"{token}@{begin + PAGE}"
        return {
            "kind": f"{KINDS[plural]}List",
            "apiVersion": "lvs-operator.io/v1alpha1",
            "metadata": metadata,
            "items": items,
        }

    def _listed(self, plural: str, parameters: Mapping[str, str]) -> list[Raw]:
        if not self.api.serves(plural):
            raise RefusedError(404, "the server could not find the requested resource")
        wanted = selection(parameters)
        return [raw for _, raw in sorted(self.api.objects(plural).items()) if wanted(raw)]


def selection(parameters: Mapping[str, str]) -> Selected:
    """What a list or a watch asks for."""
    label, _, value = parameters.get("labelSelector", "").partition("=")
    name = parameters.get("fieldSelector", "").removeprefix("metadata.name=")

    def selected(raw: Raw) -> bool:
        metadata = raw["metadata"]
        return (not label or metadata.get("labels", {}).get(label) == value) and (not name or metadata["name"] == name)

    return selected


class OpenWatch:
    """One watch, until it ends."""

    def __init__(
        self, wire: Wire, plural: str, params: Mapping[str, str], *, silence_seconds: float, epoch: int
    ) -> None:
        self._wire = wire
        self._plural = plural
        self._wanted = selection(params)
        self._silence_seconds = silence_seconds
        self._epoch = epoch
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + float(params["timeoutSeconds"])
        self._at = int(params["resourceVersion"])
        self._spoke = self._loop.time()

    async def more(self) -> list[str] | None:
        """The next lines, sometimes none; None where the server ends it. Raises NoAnswerError."""
        if self._loop.time() >= self._ends:
            return None
        self._wire.check()
        if self._wire.reach.epoch != self._epoch:
            raise NoAnswerError
        if self._wire.reach.silent:
            await asyncio.sleep(1.0)
            if self._loop.time() - self._spoke > self._silence_seconds:
                raise NoAnswerError
            return []
        try:
            changes = self._wire.api.history(self._plural, self._at)
        except RefusedError as error:
            return self._end_with(error)
        return await self._tell(changes) if changes else await self._wait()

    def _end_with(self, error: RefusedError) -> list[str] | None:
        """What is told of a version that is too old; a kind that went ends its watches."""
        self._ends = self._loop.time()
        if error.status != _GONE:
            return None
        return [json.dumps({"type": "ERROR", "object": {"code": _GONE, "message": error.message}})]

    async def _tell(self, changes: Sequence[Change]) -> list[str]:
        if self._wire.reach.lag:
            await asyncio.sleep(self._wire.reach.lag)
            self._wire.check()
        self._at = changes[-1].version
        lines = [change.line for change in changes if self._wanted(change.raw)]
        if lines:
            self._spoke = self._loop.time()
        return lines

    async def _wait(self) -> list[str]:
        seconds = min(BOOKMARK_SECONDS, max(self._ends - self._loop.time(), 0.001))
        await self._wire.api.wait_for_change(self._plural, seconds)
        if self._loop.time() - self._spoke < BOOKMARK_SECONDS:
            return []
        self._spoke = self._loop.time()
        return [json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self._at)}}})]
