"""Writes to the API server: only through the open gate, only onto the very state that was seen, never in a hurry.

A write that fails is not repeated here: the next round decides anew from a fresh view. What is remembered is when an
object may be tried again, and what an older CRD dropped of it.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from lvs_operator import metrics
from lvs_operator.api_client import JSON_PATCH, MERGE_PATCH, ApiClient
from lvs_operator.cache import Cache
from lvs_operator.errors import (
    ApiConflictError,
    ApiError,
    ApiForbiddenError,
    ApiNotFoundError,
    ApiRejectedError,
    ApiUnavailableError,
)
from lvs_operator.watched_kinds import Meta, WatchedKind

logger = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Writes under way together."""
FIRST_PAUSE: Final = 1.0
CONFLICT_PAUSE: Final = 0.05
"""After another writer was faster."""
LONGEST_PAUSE: Final = 60.0
REJECTED_PAUSE: Final = 300.0
"""What the server calls wrong is tried again after this, for a CRD or a policy may have changed."""
NO_ANSWERS_IN_A_ROW: Final = 4
"""After these the rest of the round is given up."""


class WriteKey(NamedTuple):
    """What is written: a part of an object."""

    kind: str
    namespace: str
    name: str
    part: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Create:
    """Make an object."""

    kind: WatchedKind
    namespace: str | None
    body: Mapping[str, Any]

    @property
    def key(self) -> WriteKey:
        """What is written."""
        return WriteKey(self.kind.name, self.namespace or "", self.body["metadata"]["name"], "spec")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplacePart:
    """Set the spec or the status of an object to a value."""

    kind: WatchedKind
    meta: Meta
    part: str
    """`spec` or `status`; the status goes through its subresource."""
    value: Mapping[str, Any]

    @property
    def key(self) -> WriteKey:
        """What is written."""
        return WriteKey(self.kind.name, self.meta.namespace or "", self.meta.name, self.part)


@dataclass(frozen=True, kw_only=True, slots=True)
class SetLabel:
    """Set or remove one label."""

    kind: WatchedKind
    meta: Meta
    label: str
    value: str | None

    @property
    def key(self) -> WriteKey:
        """What is written."""
        return WriteKey(self.kind.name, self.meta.namespace or "", self.meta.name, self.label)


@dataclass(frozen=True, kw_only=True, slots=True)
class MendMetadata:
    """Put back what an object of ours says of itself: its labels, its owner."""

    kind: WatchedKind
    meta: Meta
    value: Mapping[str, Any]
    """The fields of `metadata` to set; labels that are not named stay."""

    @property
    def key(self) -> WriteKey:
        """What is written."""
        return WriteKey(self.kind.name, self.meta.namespace or "", self.meta.name, "metadata")


@dataclass(frozen=True, kw_only=True, slots=True)
class Delete:
    """Delete an object."""

    kind: WatchedKind
    meta: Meta
    instead: Mapping[str, Any] | None = None
    """What is to be made in its place. It stays where the API server would not take that."""

    @property
    def key(self) -> WriteKey:
        """What is written."""
        return WriteKey(self.kind.name, self.meta.namespace or "", self.meta.name, "delete")


Write = Create | ReplacePart | SetLabel | MendMetadata | Delete


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A write that is not tried again for now."""

    content: str
    """What was written, to tell whether the same is wanted again."""
    failures: int
    until: float
    refusal: str
    """What the API server has against it; empty where it did not say no."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """What the API server did not keep of a write, because its CRD is older than this operator."""

    content: str
    fields: tuple[str, ...]
    retry: bool = False
    """The CRDs have changed since."""


class Writer:
    """Carries out what a round decided. Belongs to the main loop."""

    def __init__(
        self,
        client: ApiClient,
        cache: Cache,
        may_write: Callable[[], None],
        written: Callable[[Write], None] = lambda _: None,
    ) -> None:
        """`written` is told of each write that the API server took."""
        self._client = client
        self._cache = cache
        self._may_write = may_write
        self._written = written
        self._held: dict[WriteKey, Held] = {}
        self._waiting: dict[WriteKey, float] = {}
        """Of this round: writes that were asked for and have to wait, and until when."""
        self._dropped: dict[WriteKey, Dropped] = {}
        self._no_answers = 0

    def dropped(self) -> dict[WriteKey, tuple[str, ...]]:
        """Fields of the last writes that older CRDs dropped."""
        return {key: dropped.fields for key, dropped in self._dropped.items()}

    def refused(self) -> dict[WriteKey, str]:
        """What the API server has against writes that are wanted."""
        return {key: held.refusal for key, held in self._held.items() if held.refusal}

    def forgive(self) -> None:
        """Try again what was refused or dropped: the CRDs have changed, or another replica has written."""
        self._held.clear()
        self._waiting.clear()
        self._dropped = {key: replace(dropped, retry=True) for key, dropped in self._dropped.items()}

    def keep_only(self, wanted: Collection[WriteKey]) -> None:
        """A round begins: forget what concerned writes that are not wanted any more."""
        self._waiting.clear()
        self._held = {key: held for key, held in self._held.items() if key in wanted}
        self._dropped = {key: dropped for key, dropped in self._dropped.items() if key in wanted}

    def next_try(self) -> float | None:
        """When the earliest of the writes that this round asked for may be tried again (monotonic).

        One that the round kept back itself, held or not, has its time from there.
        """
        return min(self._waiting.values(), default=None)

    async def carry_out(self, writes: Sequence[Write], give_way: Callable[[], bool] = lambda: False) -> int:
        """Write; give the number of writes that the API server took.

        Where `give_way` says so the rest is left to the next round, which decides on newer objects.
        Raises NotLeaderError when the gate closes, and ApiUnavailableError when the API server stops answering; what
        is wrong with single objects is logged and held.
        """
        self._no_answers = 0
        due = [write for write in writes if self.is_due(write)]
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(write: Write) -> bool:
            async with limit:
                return not give_way() and await self._write(write)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(write)) for write in due]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return sum(task.result() for task in tasks)

    def is_due(self, write: Write) -> bool:
        """Whether a write may be tried now; one that has to wait has its time at `next_try`."""
        dropped, held = self._dropped.get(write.key), self._held.get(write.key)
        if dropped is None and held is None:
            return True
        content = content_of(write)
        if dropped is not None and dropped.content == content and not dropped.retry:
            return False
        if held is None or held.content != content or held.until <= time.monotonic():
            return True
        self._waiting[write.key] = held.until
        return False

    async def _write(self, write: Write) -> bool:
        self._may_write()
        try:
            answer = await self._send(write)
        except ApiError as error:
            await self._failed(write, error)
            return False
        self._no_answers = 0
        metrics.WRITES.labels(write.kind.name, type(write).__name__).inc()
        self._written(write)
        if answer is not None:
            self._cache.apply(write.kind, answer)
        if answer is None or self._is_as_sent(write, answer):
            self._held.pop(write.key, None)
        return True

    async def _send(self, write: Write) -> Mapping[str, Any] | None:
        match write:
            case Create():
                logger.info("create %s %s", write.kind.name, write.body["metadata"]["name"])
                return await self._client.create(write.kind.collection(write.namespace), write.body)
            case ReplacePart():
                logger.debug("write %s of %s %s", write.part, write.kind.name, write.meta)
                path = write.kind.path(write.meta.namespace, write.meta.name)
                path += "/status" if write.part == "status" else ""
                patch = [*_only_onto(write.meta), {"op": "add", "path": f"/{write.part}", "value": write.value}]
                return await self._client.patch(path, patch, content_type=JSON_PATCH)
            case SetLabel():
                logger.info("label %s %s: %s=%s", write.kind.name, write.meta, write.label, write.value)
                return await self._patch_metadata(write, {"labels": {write.label: write.value}})
            case MendMetadata():
                logger.warning("mend labels and owner of %s %s", write.kind.name, write.meta)
                return await self._patch_metadata(write, write.value)
            case Delete():
                if write.instead is not None:
                    await self._client.ask_to_create(write.kind.collection(write.meta.namespace), write.instead)
                logger.info("delete %s %s", write.kind.name, write.meta)
                path = write.kind.path(write.meta.namespace, write.meta.name)
                await self._client.delete(path, uid=write.meta.uid, resource_version=str(write.meta.version))
                self._cache.forget(write.kind, write.meta.uid)
                return None

    async def _patch_metadata(self, write: SetLabel | MendMetadata, value: Mapping[str, Any]) -> Mapping[str, Any]:
        path = write.kind.path(write.meta.namespace, write.meta.name)
        metadata = {"uid": write.meta.uid, "resourceVersion": str(write.meta.version), **value}
        return await self._client.patch(path, {"metadata": metadata}, content_type=MERGE_PATCH)

    async def _failed(self, write: Write, error: ApiError) -> None:
        """Classify: another state than we thought, wrong for this server, forbidden, or no answer."""
        metrics.WRITE_ERRORS.labels(write.kind.name, type(error).__name__).inc()
        if isinstance(error, ApiConflictError | ApiNotFoundError) or await self._is_another(write, error):
            logger.info("%s; it is read anew", error)
            await self._read_anew(write)
            self._hold(write, first=CONFLICT_PAUSE, longest=LONGEST_PAUSE)
            return
        if isinstance(error, ApiUnavailableError):
            self._no_answers += 1
            if error.status is None or error.retry_after or self._no_answers >= NO_ANSWERS_IN_A_ROW:
                raise error
        logger.warning("%s", error)
        longest = REJECTED_PAUSE if isinstance(error, ApiRejectedError) else LONGEST_PAUSE
        refusal = str(error) if isinstance(error, ApiRejectedError | ApiForbiddenError) else ""
        self._hold(write, first=FIRST_PAUSE, longest=longest, refusal=refusal)

    async def _is_another(self, write: Write, error: ApiError) -> bool:
        """Whether a write was refused because its object is gone and a namesake is there."""
        if not isinstance(error, ApiRejectedError) or isinstance(write, Create):
            return False
        await self._cache.refresh(self._client, write.kind, write.meta)
        return self._cache.get(write.kind, write.meta.uid) is None

    async def _read_anew(self, write: Write) -> None:
        """The object is another, or another state of it, than the view has."""
        if not isinstance(write, Create):
            await self._cache.refresh(self._client, write.kind, write.meta)
            return
        try:
            path = write.kind.path(write.namespace, write.body["metadata"]["name"])
            self._cache.apply(write.kind, await self._client.get(path))
        except ApiNotFoundError:
            return  # gone again, or its namespace is; the next round tries to create it

    def _hold(self, write: Write, *, first: float, longest: float, refusal: str = "") -> None:
        before = self._held.get(write.key)
        failures = before.failures + 1 if before else 1
        pause = min(first * 2 ** min(failures - 1, 16), longest)
        until = time.monotonic() + pause
        held = Held(content=content_of(write), failures=failures, until=until, refusal=refusal)
        self._held[write.key], self._waiting[write.key] = held, held.until

    def _is_as_sent(self, write: Write, answer: Mapping[str, Any]) -> bool:
        """Notes what the API server did not keep. False: it added or changed something, and the write is held.

        It would do so each time. That may be a default of a newer CRD, or come of an admission webhook.
        """
        match write:
            case Create():
                sent, part = write.body["spec"], "spec"
            case ReplacePart():
                sent, part = write.value, write.part
            case _:
                return True
        kind, stored = write.kind, answer.get(part)
        if stored == sent or kind.same(kind.parse(answer), kind.parse({**answer, part: sent})):
            # All is there, or what is not was a default: the object says the same without it.
            self._dropped.pop(write.key, None)
            return True
        fields = tuple(missing_fields(sent, stored, part))
        if fields:
            logger.warning("%s %s: the CRD is older than this operator and dropped %s", *write.key[::2], fields)
            self._dropped[write.key] = Dropped(content=content_of(write), fields=fields)
            return True
        self._dropped.pop(write.key, None)
        changed = ", ".join(f"{part}.{name}" for name, value in (stored or {}).items() if value != sent.get(name))
        refusal = (
            f"it keeps {changed} otherwise than sent: its CRD is newer than this operator, or an admission policy or "
            "webhook changes what is sent"
        )
        logger.warning("%s %s: %s", *write.key[::2], refusal)
        self._hold(write, first=FIRST_PAUSE, longest=REJECTED_PAUSE, refusal=refusal)
        return False


def _only_onto(meta: Meta) -> list[dict[str, str]]:
    """Makes the API server refuse a patch unless the object is still the one (422) and in the state (409) that we saw.

    Replacing the uid would do for a spec, but a status subresource takes no notice of it.
    """
    return [
        {"op": "test", "path": "/metadata/uid", "value": meta.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": str(meta.version)},
    ]


def content_of(write: Write) -> str:
    """What is written, without the state that it is written onto."""
    match write:
        case Create():
            return json.dumps(write.body["spec"], sort_keys=True)
        case ReplacePart() | MendMetadata():
            return json.dumps(write.value, sort_keys=True)
        case SetLabel():
            return f"{write.value}"
        case Delete():
            return json.dumps([write.meta.uid, write.instead], sort_keys=True)


def missing_fields(
    sent: Any,  # noqa: ANN401 -- JSON
    stored: Any,  # noqa: ANN401 -- JSON
    path: str,
    is_lost: Callable[[Any, Any], bool] = lambda _sent, stored: stored is None,
) -> Iterable[str]:
    """Paths of what was sent and is not there, or lost by another measure; what the server added does not matter."""
    if isinstance(sent, Mapping):
        for name, value in sent.items():
            inner = stored.get(name) if isinstance(stored, Mapping) else None
            yield from missing_fields(value, inner, f"{path}.{name}", is_lost)
    elif isinstance(sent, list):
        for index, value in enumerate(sent):
            inner = stored[index] if isinstance(stored, list) and index < len(stored) else None
            yield from missing_fields(value, inner, f"{path}[{index}]", is_lost)
    elif is_lost(sent, stored):
        yield path
