"""One small reflector: a copy of what the API server lists, kept up to date by a watch.

No error is ever an empty list: the copy changes only by a list that was read to its end, or by a watch event.

A watch is resumed only where the last one had its full time. After any other end the API server may be one whose etcd
was restored to an older state: it would wait, without a word, for the version that the copy has to come again
(kubernetes/kubernetes#107457). So the copy is listed anew.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused

SILENCE_SECONDS: Final = 75.0
"""The API server sends a bookmark about every minute; a watch that is silent for longer is dead."""
WATCH_SECONDS: Final = 290
"""The server ends a watch after this, so that watches spread over the API servers there are.

One that ends well before was ended by a change of its CRD, or with its API server. After the former, too, the copy is
listed anew: the old watch goes on beside the new CRD for up to two minutes, and what came by it lacks the fields that
the old one did not have (tearDown in customresource_handler.go of apiextensions-apiserver).
"""
_EARLY_SECONDS: Final = 5.0
_PAGE: Final = 500
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 15.0
_LASTED_SECONDS: Final = 5.0
"""A connection that held for so long was a good one: after it the next is tried at once."""

Raw = dict[str, Any]
Kept = TypeVar("Kept")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to copy: a collection's path and selectors."""

    path: str
    kind: str
    """Of the objects, as in `kind:`."""
    label_selector: str | None = None
    field_selector: str | None = None

    def params(self) -> dict[str, str]:
        """As query parameters."""
        named = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in named.items() if value is not None}


class Reflector(Generic[Kept]):
    """A copy of one selection. `wake` is called whenever it changed or became complete.

    `keep` makes of each object what is kept of it; what is equal then is the same.
    `connected` is called before anything of a list or a watch is taken over: the other side may be another API server.
    """

    def __init__(
        self,
        api: ApiConnection,
        selection: Selection,
        wake: Callable[[], None],
        *,
        keep: Callable[[Raw], Kept],
        connected: Callable[[], None] = lambda: None,
        silence_seconds: float = SILENCE_SECONDS,
        watch_seconds: int = WATCH_SECONDS,
    ) -> None:
        self._api = api
        self._selection = selection
        self._wake = wake
        self._keep = keep
        self._connected = connected
        self._silence_seconds = silence_seconds
        self._watch_seconds = watch_seconds
        self._objects: dict[str, Kept] = {}
        self.complete = False
        """Whether it was listed to the end at least once in this process."""
        self.failure: str | None = None
        """Why the copy may be out of date; None while the watch runs."""

    def objects(self) -> Mapping[str, Kept]:
        """By uid; means something only once `complete`."""
        return self._objects

    async def run(self) -> None:
        """Keep the copy up to date until cancelled."""
        delay, loop = _FIRST_DELAY, asyncio.get_running_loop()
        at: str | None = None
        while True:
            began = loop.time()
            try:
                since, at = at or await self._list(), None
                opened = loop.time()
                latest = await self._watch(since)
                if loop.time() - opened >= self._watch_seconds - _EARLY_SECONDS:
                    at = latest
                failure = retry_after = None
            except ApiRefused as error:
                failure, retry_after = str(error), error.retry_after
            except ApiUnavailable as error:
                failure, retry_after = str(error), None
            if loop.time() - began > _LASTED_SECONDS:
                delay = _FIRST_DELAY
                if failure is None:
                    continue
            if failure is not None and self.failure is None:
                _log.warning("%s: %s; what is known goes on", self._selection.path, failure)
                self.failure = failure
                self._wake()
            await asyncio.sleep(max(delay, min(retry_after or 0, _LONGEST_DELAY)))
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _list(self) -> str:
        """Read every page, then take over the difference at once; gives the version of the list."""
        listed: dict[str, Kept] = {}
        params = self._selection.params() | {"limit": str(_PAGE)}
        while True:
            page = await self._api.get(self._selection.path, params)
            items, following, version = read_page(self._selection, page)
            listed.update((uid, self._keep(item)) for uid, item in items.items())
            if not following:
                break
            params["continue"] = following
        self._connected()
        changed = not self.complete or listed != self._objects or self.failure is not None
        self._objects = listed
        self.complete = True
        self.failure = None
        if changed:
            self._wake()
        return version

    async def _watch(self, since: str) -> str:
        """Follow the changes after a version until the server ends the watch; gives the version that it came to."""
        params = self._selection.params() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(self._watch_seconds),
        }
        async with self._api.stream(self._selection.path, params, silence_seconds=self._silence_seconds) as lines:
            self._connected()
            return await self._follow(lines, since)

    async def _follow(self, lines: AsyncIterator[str], since: str) -> str:
        latest = since
        async for line in lines:
            try:
                event = json.loads(line)
                what, item = event["type"], event["object"]
                if what == "ERROR":
                    raise ApiRefused(int(item.get("code") or 0), str(item.get("message")))
                uid, version = item["metadata"].get("uid"), item["metadata"]["resourceVersion"]
                went_back = what == "BOOKMARK" and int(version) < int(latest)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ApiUnavailable(f"{self._selection.path}: not a watch event") from error
            if went_back:
                raise ApiUnavailable(f"{self._selection.path}: version {version} came after {latest}")
            latest = version
            if what in {"ADDED", "MODIFIED"}:
                kept = self._keep(item)
                if self._objects.get(uid) == kept:
                    continue
                self._objects[uid] = kept
            elif what == "DELETED":
                self._objects.pop(uid, None)
            else:
                continue
            self._wake()
        return latest


def as_it_is(raw: Raw) -> Raw:
    """Keeps all of an object."""
    return raw


def read_page(selection: Selection, page: Mapping[str, Any]) -> tuple[dict[str, Raw], str | None, str]:
    """The objects of a page by uid, how to go on, and the version of the list.

    Raises ApiUnavailable for anything but a whole page of the kind: what is missing from it would be taken for gone.
    """
    try:
        if page["kind"] != f"{selection.kind}List":
            raise ApiUnavailable(f"{selection.path}: a {page['kind']} and not a {selection.kind}List")
        # Items of a list carry neither kind nor apiVersion when they come from a custom resource's cache.
        typed = {"apiVersion": page["apiVersion"], "kind": selection.kind}
        items = {item["metadata"]["uid"]: typed | item for item in page["items"]}
        following, version = page["metadata"].get("continue"), page["metadata"]["resourceVersion"]
        remaining = page["metadata"].get("remainingItemCount")
    except (KeyError, TypeError, AttributeError) as error:
        raise ApiUnavailable(f"{selection.path}: not a list") from error
    if remaining and not following:
        raise ApiUnavailable(f"{selection.path}: the list ends {remaining} objects early")
    return items, following, version
