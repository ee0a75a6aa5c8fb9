"""The plan as a directory of YAML files gives it, without an API server: accepted, resolved and compiled here."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.withheld import NOTHING_WITHHELD, Withheld
from lvs_agent.errors import InvalidManifests, LinkError
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.kinds import VIRTUAL_SERVICE
from lvs_api.lvs_node import LvsNodeStatus, NodeAddressState
from lvs_api.violations import InvalidObject
from lvs_core.cluster_view import ObjectKey
from lvs_core.manifests import ManifestPlan, check_manifest, plan_manifests, read_manifests
from lvs_core.plan import NodePlan

POLL_SECONDS: Final = 1.0
MAX_FILE: Final = 8 * 1024 * 1024
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})

Raw = Mapping[str, Any]
Stamp = tuple[tuple[str, int, int, int], ...]
OwnAddresses = Callable[[], Awaitable[AbstractSet[str]]]
_log = logging.getLogger(__name__)


class ManifestSource:
    """Looks at the directory every second. Files that are wrong are told, and the last good state goes on."""

    def __init__(
        self,
        directory: Path,
        *,
        own_addresses: OwnAddresses,
        metrics: AgentMetrics,
        wake: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._own_addresses = own_addresses
        self._wake = wake
        self._plan: NodePlan | None = None
        self._plan_changed = time.monotonic()
        self._seen: tuple[Stamp, AbstractSet[str]] | None = None
        self._own: AbstractSet[str] = frozenset()
        """Every address that this machine has had in this process, so that one that goes takes no part from it."""
        self._said: tuple[str, ...] = ()
        self._exceptions: tuple[str, ...] = ()
        metrics.view_age_seconds.set_function(lambda: time.monotonic() - self._plan_changed)

    @property
    def plan(self) -> NodePlan | None:
        """What is to be done; None until the files were good once."""
        return self._plan

    @property
    def withheld(self) -> Withheld:
        """Nothing: whoever edits the files sees them."""
        return NOTHING_WITHHELD

    def reported_status(self) -> None:
        """Nothing is reported anywhere."""

    def asked_zero(self) -> None:
        """Nobody can ask here: there is no LvsNode."""

    def state_faults(self) -> tuple[Fault, ...]:
        """The files are the view: there is no other copy that could be lost."""
        return ()

    def tell(self, status: LvsNodeStatus) -> None:
        """Without an API server the log is where exceptions, and addresses that are not bound, are told."""
        said = tuple(
            f"{exception.namespace}/{exception.name}: {exception.reason}: {exception.message}"
            for exception in status.exceptions or ()
        ) + tuple(
            f"{one.address} on {one.device}: {one.state}: {one.message}"
            for one in status.addresses or ()
            if one.state is not NodeAddressState.BOUND
        )
        for line in said:
            if line not in self._exceptions:
                _log.warning("%s", line)
        if self._exceptions and not said:
            _log.info("every virtual service is programmed, every real server ready, every address bound")
        self._exceptions = said

    async def run(self) -> None:
        """Follow the directory until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Make a plan anew where files or this machine's addresses changed.

        An absence takes nothing away: a directory without files may be a mount that went, and an address that went
        from this machine comes back when its network has been set up anew.
        """
        try:
            stamp, own = stamp_of(self._directory), await self._own_addresses()
            if (stamp, own) == self._seen:
                return
            self._seen = stamp, own
            known = self._believed(stamp, own)
            plan, problems = read_plan(self._directory, known)
            if known != own and plan != read_plan(self._directory, own)[0]:
                problems = (*problems, _gone(known - own))
            if stamp_of(self._directory) != stamp:
                self._seen = None  # somebody writes just now: what was read may be a part
                return
        except (InvalidManifests, LinkError) as error:
            self._complain((f"{error}; the last good state goes on",))
            return
        self._own = known
        self._complain(problems)
        if plan != self._plan:
            self._plan, self._plan_changed = plan, time.monotonic()
            self._wake()

    def _believed(self, stamp: Stamp, own: AbstractSet[str]) -> AbstractSet[str]:
        """The addresses by which to find this machine's part. Raises InvalidManifests where none could be found."""
        if not stamp:
            raise InvalidManifests(f"{self._directory}: there is no file in it, not even one without objects")
        if not own and not self._own:
            raise InvalidManifests("this machine has no addresses yet by which to find its part")
        return self._own | own

    def _complain(self, complaints: tuple[str, ...]) -> None:
        for complaint in complaints:
            if complaint not in self._said:
                _log.error("%s", complaint)
        self._said = complaints


def _gone(addresses: AbstractSet[str]) -> str:
    named = ", ".join(sorted(addresses))
    return (
        f"this machine no longer has {named}; what it has to do by that goes on. Where it has moved for good, start "
        "the agent anew"
    )


def read_plan(directory: Path, own_addresses: AbstractSet[str]) -> tuple[NodePlan, tuple[str, ...]]:
    """The plan of this machine, and what is wrong between objects. Raises InvalidManifests.

    What the kernel has of a service that is not carried out, since other objects do not let it, stays as it is.
    """
    documents = []
    for path, raw in read_objects(directory):
        try:
            check_manifest(raw)
        except InvalidObject as error:
            raise InvalidManifests(f"{path}: {error}") from error
        documents.append(raw)
    try:
        made = plan_manifests(read_manifests(documents), own_addresses)
    except InvalidObject as error:
        raise InvalidManifests(f"{directory}: {error}") from error
    return _holding_back(made), tuple(f"{problem.object}: {problem.message}" for problem in made.problems)


def _holding_back(made: ManifestPlan) -> NodePlan:
    """The plan with the services named that have a problem and no part in it."""
    planned = {one.service for one in made.plan.services()}
    prefix = f"{VIRTUAL_SERVICE.name} "
    named = [problem.object.removeprefix(prefix) for problem in made.problems if problem.object.startswith(prefix)]
    absent = tuple(key for key in (ObjectKey(*name.split("/", 1)) for name in named) if key not in planned)
    if not absent:
        return made.plan
    directing = tuple(replace(director, incomplete=director.incomplete + absent) for director in made.plan.directing)
    return replace(made.plan, directing=directing)


def stamp_of(directory: Path) -> Stamp:
    """Changes whenever a file does, its rights included. Raises InvalidManifests."""
    try:
        found = [(path, path.stat()) for path in _files(directory)]
    except OSError as error:
        raise InvalidManifests(f"{directory}: {error.strerror}") from error
    return tuple((str(path), stat.st_ino, stat.st_size, stat.st_ctime_ns) for path, stat in found)


def read_objects(directory: Path) -> Iterator[tuple[Path, Raw]]:
    """Every object of every file, with its file. Raises InvalidManifests."""
    try:
        files = _files(directory)
    except OSError as error:
        raise InvalidManifests(f"{directory}: {error.strerror}") from error
    for path in files:
        try:
            if path.stat().st_size > MAX_FILE:
                raise InvalidManifests(f"{path}: over {MAX_FILE} bytes")
            text = path.read_text(encoding="utf-8")
            documents = [json.loads(text)] if path.suffix == ".json" else list(yaml.safe_load_all(text))
        except OSError as error:
            raise InvalidManifests(f"{path}: {error.strerror}") from error
        except (ValueError, yaml.YAMLError) as error:
            raise InvalidManifests(f"{path}: {error}") from error
        for document in documents:
            yield from ((path, raw) for raw in _expand(path, document))


def _expand(path: Path, document: object) -> Iterator[Raw]:
    """A document's objects: none in an empty one, several in a List."""
    if document is None:
        return
    if not isinstance(document, dict):
        raise InvalidManifests(f"{path}: a document that is no object")
    if document.get("kind") == "List" and document.get("apiVersion") == "v1":
        items = document.get("items") or []
        if not isinstance(items, list):
            raise InvalidManifests(f"{path}: items of a List are no list")
        for item in items:
            yield from _expand(path, item)
        return
    yield document


def _files(directory: Path) -> Sequence[Path]:
    """The files that count, in order; hidden ones are editors' and mounts' own."""
    return sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
