"""The operator's own view of the cluster, by uid.

Events feed it as they come. They cannot be trusted to be complete: kopf never reports an object that vanished while it
was not connected, and a kind that is not served looks like an empty one. So the view is compared with metadata-only
lists: at the start, every few minutes, and before anything is deleted or called a conflict. Until every kind has been
listed completely it is `complete = False`, and nothing may be concluded from an absence.
"""

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lvs_operator import metrics
from lvs_operator.api_client import METADATA_LIST, ApiClient
from lvs_operator.errors import ApiNotFoundError
from lvs_operator.watched_kinds import WATCHED_KINDS, Meta, WatchedKind

logger = logging.getLogger(__name__)

FETCH_ONE_BY_ONE: Final = 50
"""More differences than these are fetched as one list."""
GRAVE_SECONDS: Final = 600.0
"""How long a deleted uid is remembered, so that a late answer does not bring the object back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One object as last seen."""

    meta: Meta
    value: Any
    """What the kind's `parse` made of it."""


@dataclass(kw_only=True, slots=True)
class Shelf:
    """All objects of one kind."""

    entries: dict[str, Entry] = field(default_factory=dict)
    listed: bool = False
    """A list of the kind has been read to its end, in this process."""


class Cache:
    """Belongs to the main loop; other threads hand their events over to it."""

    def __init__(self, kinds: Collection[WatchedKind] = WATCHED_KINDS) -> None:
        self._shelves = {kind: Shelf() for kind in kinds}
        self._graves: dict[str, float] = {}
        self.revision = 0
        """Changes with every change of the view."""
        self.checked: tuple[int, float] | None = None
        """The revision at the end of the last check, and when it began (monotonic)."""

    @property
    def complete(self) -> bool:
        """Every kind has been listed completely: what is not here is not there."""
        return all(shelf.listed for shelf in self._shelves.values())

    @property
    def missing_kinds(self) -> list[str]:
        """Kinds that have not been listed completely."""
        return [kind.name for kind, shelf in self._shelves.items() if not shelf.listed]

    def entries(self, kind: WatchedKind) -> Collection[Entry]:
        """Every object of a kind."""
        return self._shelves[kind].entries.values()

    def get(self, kind: WatchedKind, uid: str) -> Entry | None:
        """One object."""
        return self._shelves[kind].entries.get(uid)

    def apply(self, kind: WatchedKind, raw: Mapping[str, Any], *, gone: bool = False) -> bool:
        """Take over an object from an event, a list or the answer to a write; True when the view changed."""
        meta = Meta.read(raw)
        shelf = self._shelves[kind]
        if gone:
            return self._bury(kind, meta.uid)
        known = shelf.entries.get(meta.uid)
        if meta.uid in self._graves or (known is not None and known.meta.version >= meta.version):
            return False
        value = kind.parse(raw)
        shelf.entries[meta.uid] = Entry(meta=meta, value=value)
        if known is not None and kind.same(known.value, value):
            return False
        self._changed(kind)
        return True

    def forget(self, kind: WatchedKind, uid: str) -> bool:
        """An object is known to be gone; True when the view changed."""
        return self._bury(kind, uid)

    async def check(self, client: ApiClient) -> bool:
        """Compare every kind with the API server and take over what differs; True when something did.

        Raises a subclass of ApiError; kinds that were not reached stay as they were.
        """
        began = time.monotonic()
        before = self.revision
        for kind in self._shelves:
            await self._check_kind(client, kind)
        for uid, buried in list(self._graves.items()):
            if began - buried > GRAVE_SECONDS:
                del self._graves[uid]
        self.checked = (self.revision, began)
        metrics.VIEW_COMPLETE.set(1 if self.complete else 0)
        return self.revision != before

    async def _check_kind(self, client: ApiClient, kind: WatchedKind) -> None:
        try:
            listed, list_version = await _metadata(client, kind)
        except ApiNotFoundError:
            self._shelves[kind].listed = False  # the kind is not served: an absence means nothing
            metrics.VIEW_COMPLETE.set(0)
            raise
        entries = self._shelves[kind].entries
        vanished = [uid for uid, entry in entries.items() if uid not in listed and entry.meta.version <= list_version]
        differing = [
            meta
            for uid, meta in listed.items()
            if uid not in self._graves and (uid not in entries or entries[uid].meta.version < meta.version)
        ]
        for uid in vanished:
            self._bury(kind, uid)
        if len(differing) > FETCH_ONE_BY_ONE:
            async for page in client.pages(kind.collection()):
                for raw in page.get("items") or ():
                    self.apply(kind, kind.with_type(raw))
        else:
            for meta in differing:
                await self.refresh(client, kind, meta)
        if self._shelves[kind].listed:
            metrics.DIFFERENCES.labels(kind.name).inc(len(vanished) + len(differing))
        self._shelves[kind].listed = True
        metrics.OBJECTS.labels(kind.name).set(len(entries))

    async def refresh(self, client: ApiClient, kind: WatchedKind, meta: Meta) -> bool:
        """Read one object anew; True when the view changed."""
        try:
            raw = await client.get(kind.path(meta.namespace, meta.name))
        except ApiNotFoundError:
            return self._bury(kind, meta.uid)
        changed = self.apply(kind, raw)
        if raw["metadata"]["uid"] != meta.uid:  # another object of the same name
            changed = self._bury(kind, meta.uid) or changed
        return changed

    def _bury(self, kind: WatchedKind, uid: str) -> bool:
        self._graves[uid] = time.monotonic()
        if self._shelves[kind].entries.pop(uid, None) is None:
            return False
        self._changed(kind)
        return True

    def _changed(self, kind: WatchedKind) -> None:
        self.revision += 1
        metrics.OBJECTS.labels(kind.name).set(len(self._shelves[kind].entries))


async def _metadata(client: ApiClient, kind: WatchedKind) -> tuple[dict[str, Meta], int]:
    """Every object's metadata as of one moment, and that moment's version."""
    listed: dict[str, Meta] = {}
    version = 0
    async for page in client.pages(kind.collection(), accept=METADATA_LIST):
        version = int(page["metadata"]["resourceVersion"])
        for item in page.get("items") or ():
            meta = Meta.read(item)
            listed[meta.uid] = meta
    return listed, version
