"""The modelled API server by the surface of each program's client: raw JSON, errors as that client classifies them."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiRefused
from lvs_operator.api_client import JSON, JSON_PATCH, type_of_error
from lvs_operator.errors import ApiRejectedError, ApiUnavailableError
from simulation.model_api import NoAnswerError, Place, Raw, RefusedError, read_path
from simulation.wire import LEASES, OpenWatch, Wire, selection


class AgentConnection:
    """As `lvs_agent.objects.api_connection.ApiConnection`."""

    host = "192.168.4.250"

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Raw:
        """One object, or a page of a list."""
        try:
            return await (self._wire.read(path) if params is None else self._wire.page(path, params))
        except (NoAnswerError, RefusedError) as error:
            raise _agents_error(error) from error

    async def apply(self, path: str, body: Mapping[str, Any], field_manager: str) -> Raw:
        """The status of the agent's LvsNode, or its Lease."""
        assert field_manager
        api = self._wire.api
        if path.startswith(LEASES):
            try:
                return await self._wire.write(lambda: api.renew(body["metadata"]["name"], body["spec"]))
            except NoAnswerError as error:
                raise _agents_error(error) from error
        place = read_path(path)
        assert (place.plural, place.subresource) == ("lvsnodes", "status"), f"an agent wrote {path}"
        try:
            return await self._wire.write(
                lambda: api.replace("agent", place.plural, place.key, "status", json.loads(json.dumps(body["status"])))
            )
        except (NoAnswerError, RefusedError) as error:
            raise _agents_error(error) from error

    async def create(self, path: str, body: Mapping[str, Any]) -> Raw:
        """An Event."""
        return await self._event(path, body)

    async def merge(self, path: str, body: Mapping[str, Any]) -> Raw:
        """Count up an Event."""
        return await self._event(path, body)

    async def _event(self, path: str, body: Mapping[str, Any]) -> Raw:
        assert "/events" in path, f"an agent wrote {path}"
        assert body
        try:
            await self._wire.pass_through()
        except NoAnswerError as error:
            raise _agents_error(error) from error
        self._wire.api.events += 1
        return {}

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        """A watch."""
        try:
            await self._wire.pass_through()
            lines = self._lines(read_path(path), params, silence_seconds, self._wire.reach.epoch)
            yield lines
        except (NoAnswerError, RefusedError) as error:
            raise _agents_error(error) from error

    async def _lines(
        self, place: Place, params: Mapping[str, str], silence_seconds: float, epoch: int
    ) -> AsyncIterator[str]:
        wanted = selection(params)
        for change in self._replayed(place.plural, int(params["resourceVersion"])):
            if wanted(change.raw):
                yield change.line
        watch = OpenWatch(self._wire, place.plural, params, silence_seconds=silence_seconds, epoch=epoch)
        while (lines := await watch.more()) is not None:
            for line in lines:
                yield line

    def _replayed(self, plural: str, at: int) -> list[Any]:
        """The last events up to where the watch begins, once more and in order."""
        number, self._wire.reach.replay = self._wire.reach.replay, 0
        if not number or not self._wire.api.serves(plural):
            return []
        try:
            return [change for change in self._wire.api.history(plural, at - number) if change.version <= at]
        except RefusedError:
            return []

    async def close(self) -> None:
        """Nothing to close."""


def _agents_error(error: NoAnswerError | RefusedError) -> ApiUnavailable:
    return ApiRefused(error.status, error.message) if isinstance(error, RefusedError) else ApiUnavailable("no answer")


class OperatorClient:
    """As `lvs_operator.api_client.ApiClient`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def get(self, path: str) -> Raw:
        """One object."""
        if path == "/openapi/v3":
            return {"paths": {}}
        try:
            return await self._wire.read(path)
        except (NoAnswerError, RefusedError) as error:
            raise _operators_error(path, error) from error

    async def pages(self, path: str, *, accept: str = JSON) -> AsyncIterator[Raw]:
        """A whole list."""
        assert accept
        parameters: dict[str, str] = {}
        while True:
            try:
                page = await self._wire.page(path, parameters)
            except (NoAnswerError, RefusedError) as error:
                raise _operators_error(path, error) from error
            yield page
            if "continue" not in page["metadata"]:
                return
            parameters["continue"] = page["metadata"]["continue"]

    async def create(self, path: str, body: Mapping[str, Any]) -> Raw:
        """An object, or an Event."""
        return await self._write(path, lambda: self._create(path, body))

    async def patch(self, path: str, body: Any, *, content_type: str) -> Raw:  # noqa: ANN401 (JSON)
        """A part of an object, or an Event."""
        return await self._write(path, lambda: self._patch(path, body, content_type))

    async def delete(self, path: str, *, uid: str, resource_version: str) -> None:
        """The very object, in the very state."""

        def make() -> None:
            place = read_path(path)
            metadata = self._wire.api.get(place.plural, place.key)["metadata"]
            if (metadata["uid"], metadata["resourceVersion"]) != (uid, resource_version):
                raise RefusedError(409, "precondition failed")
            self._wire.api.delete("operator", place.plural, place.key)

        await self._write(path, make)

    async def _write(self, path: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 (JSON)
        try:
            return await self._wire.write(make)
        except (NoAnswerError, RefusedError) as error:
            raise _operators_error(path, error) from error

    def _create(self, path: str, body: Mapping[str, Any]) -> Raw:
        if path.endswith("/events"):
            self._wire.api.events += 1
            return {}
        return self._wire.api.create("operator", read_path(path).plural, json.loads(json.dumps(body)))

    def _patch(self, path: str, body: Any, content_type: str) -> Raw:  # noqa: ANN401 (JSON)
        api = self._wire.api
        if "/events/" in path:
            api.events += 1
            return {}
        place = read_path(path)
        old = api.get(place.plural, place.key)
        if content_type == JSON_PATCH:
            test, replace, add = body
            _must_be(old, uid=test["value"], version=replace["value"])
            part = add["path"].removeprefix("/")
            assert (part == "status") == (place.subresource == "status"), f"the operator wrote {part} to {path}"
            return api.replace("operator", place.plural, place.key, part, json.loads(json.dumps(add["value"])))
        assert place.plural == "nodes", f"the operator wrote {path}"
        metadata = body["metadata"]
        _must_be(old, uid=metadata["uid"], version=metadata["resourceVersion"])
        labels = {**old["metadata"].get("labels", {}), **metadata["labels"]}
        return api.replace(
            "operator", place.plural, place.key, "labels", {name: v for name, v in labels.items() if v is not None}
        )


def _must_be(raw: Raw, *, uid: str, version: str) -> None:
    if raw["metadata"]["uid"] != uid:
        raise RefusedError(422, "another uid")
    if raw["metadata"]["resourceVersion"] != version:
        raise RefusedError(409, "another resourceVersion")


def _operators_error(path: str, error: NoAnswerError | RefusedError) -> Exception:
    if isinstance(error, NoAnswerError):
        return ApiUnavailableError(path, "no answer")
    return type_of_error.get(error.status, ApiRejectedError)(path, error.message, status=error.status)
