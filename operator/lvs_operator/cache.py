"""The operator's own view of the cluster, by uid.

Events feed it as they come. They cannot be trusted to be complete: kopf never reports an object that vanished while it
was not connected, and a kind that is not served looks like an empty one. So the view is compared with metadata-only
lists: at the start, every few minutes, and before anything is deleted or called a conflict. Until every kind has been
listed completely it is `complete = False`, and nothing may be concluded from an absence.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from lvs_operator import metrics
from lvs_operator.api_client import METADATA_LIST, ApiClient
from lvs_operator.errors import ApiError, ApiNotFoundError
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
    newest: int = 0
    """The latest version seen of the kind, of an object or of a list."""
    revision: int = 0
    """Changes with every change of these objects."""


class Grave(NamedTuple):
    """An object that is gone."""

    since: float
    """Monotonic clock."""
    version: int
    """The latest one seen of it; 0 where none was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What was seen of a kind before a list of it was asked for."""

    newest: int
    there: Mapping[str, int]
    """Versions of objects by uid."""
    gone: Mapping[str, int]
    """The last ones of objects that were gone."""

    def is_later_than(self, listed: Mapping[str, Meta], list_version: int) -> bool:
        """Whether the API server has gone back: what it says now is older than what it said before.

        An object that was deleted and waits for its finalizers got a later version by that.
        """
        return list_version < self.newest or any(
            meta.version < self.there.get(uid, 0) or meta.version <= self.gone.get(uid, 0)
            for uid, meta in listed.items()
        )


class Cache:
    """Belongs to the main loop; other threads hand their events over to it."""

    def __init__(
        self, kinds: Collection[WatchedKind] = WATCHED_KINDS, *, went_back: Callable[[], None] = lambda: None
    ) -> None:
        """`went_back` is called when the API server turns out to have been restored to an older state.

        Watches are to be opened anew then: one that is resumed waits for versions of the future.
        """
        self._shelves = {kind: Shelf() for kind in kinds}
        self._graves: dict[str, Grave] = {}
        self._went_back = went_back
        self._failed: str | None = None
        """Why the last check was not carried through."""
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

    @property
    def complaint(self) -> str | None:
        """What is missing for the view to be complete, and the request that failed, if one did."""
        if self.complete:
            return None
        why = f" ({self._failed})" if self._failed is not None else ""
        return f"not listed completely yet: {', '.join(self.missing_kinds)}{why}"

    def revision_of(self, kind: WatchedKind) -> int:
        """Changes with every change of a kind's objects."""
        return self._shelves[kind].revision

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
        shelf.newest = max(shelf.newest, meta.version)
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
        try:
            for kind in self._shelves:
                await self._check_kind(client, kind)
        except ApiError as error:
            self._failed = str(error)
            raise
        self._failed = None
        for uid, grave in list(self._graves.items()):
            if began - grave.since > GRAVE_SECONDS:
                del self._graves[uid]
        self.checked = (self.revision, began)
        metrics.VIEW_COMPLETE.set(1 if self.complete else 0)
        return self.revision != before

    async def _check_kind(self, client: ApiClient, kind: WatchedKind) -> None:
        shelf, seen = self._shelves[kind], self._seen(kind)
        try:
            listed, list_version = await _metadata(client, kind)
        except ApiNotFoundError:
            shelf.listed = False  # the kind is not served: an absence means nothing
            metrics.VIEW_COMPLETE.set(0)
            raise
        if seen.is_later_than(listed, list_version):
            await self._begin_anew(client, kind)
            return
        shelf.newest = max(shelf.newest, list_version)
        entries = shelf.entries
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
        if shelf.listed:
            metrics.DIFFERENCES.labels(kind.name).inc(len(vanished) + len(differing))
        shelf.listed = True
        metrics.OBJECTS.labels(kind.name).set(len(entries))

    def _seen(self, kind: WatchedKind) -> Seen:
        shelf = self._shelves[kind]
        return Seen(
            newest=shelf.newest,
            there={uid: entry.meta.version for uid, entry in shelf.entries.items()},
            gone={uid: grave.version for uid, grave in self._graves.items()},
        )

    async def _begin_anew(self, client: ApiClient, kind: WatchedKind) -> None:
        """Take the whole list for the truth, whatever versions were seen.

        What came by an event while it was read comes again with the watches that are opened anew, so nothing is buried.
        """
        entries: dict[str, Entry] = {}
        version = 0
        async for page in client.pages(kind.collection()):
            version = int(page["metadata"]["resourceVersion"])
            for item in page.get("items") or ():
                raw = kind.with_type(item)
                meta = Meta.read(raw)
                entries[meta.uid] = Entry(meta=meta, value=kind.parse(raw))
        shelf = self._shelves[kind]
        shelf.entries, shelf.newest, shelf.listed = entries, version, True
        for uid in entries:
            self._graves.pop(uid, None)
        self._changed(kind)
        logger.warning("%s: the API server was restored to an older state, which is taken over", kind.name)
        metrics.WENT_BACK.inc()
        self._went_back()

    async def refresh(self, client: ApiClient, kind: WatchedKind, meta: Meta) -> bool:
        """Read one object anew; True when the view changed."""
        before = self.get(kind, meta.uid)
        try:
            raw = await client.get(kind.path(meta.namespace, meta.name))
        except ApiNotFoundError:
            return self._bury(kind, meta.uid)
        read = Meta.read(raw)
        if before is not None and read.uid == meta.uid and read.version < before.meta.version:
            self._went_back()  # the whole view is checked, and this found by that
        changed = self.apply(kind, raw)
        if read.uid != meta.uid:  # another object of the same name
            changed = self._bury(kind, meta.uid) or changed
        return changed

    def _bury(self, kind: WatchedKind, uid: str) -> bool:
        entry, grave = self._shelves[kind].entries.pop(uid, None), self._graves.get(uid)
        version = entry.meta.version if entry is not None else grave.version if grave is not None else 0
        self._graves[uid] = Grave(time.monotonic(), version)
        if entry is None:
            return False
        self._changed(kind)
        return True

    def _changed(self, kind: WatchedKind) -> None:
        self.revision += 1
        self._shelves[kind].revision += 1
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
