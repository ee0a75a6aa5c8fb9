"""Raw requests to the API server: connection and credentials by lightkube, answers as dicts, errors classified.

lightkube's typed client hides response headers, content negotiation and delete preconditions, all of which the
operator needs; its configuration, TLS and token rotation are used as they are.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self, cast

import httpx2
from lightkube.config.client_adapter import AsyncClient, Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from lvs_operator.errors import (
    ApiConflictError,
    ApiError,
    ApiForbiddenError,
    ApiNotFoundError,
    ApiRejectedError,
    ApiUnavailableError,
    SettingsError,
)

FIELD_MANAGER: Final = "lvs-operator"
JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE_SIZE: Final = 500
CONNECT_TIMEOUT: Final = 5.0
NO_ANSWER: Final = (httpx2.RequestError, OSError, ConfigError)
"""Also an answer that can not be unpacked, and a token file that can not be read at this moment."""
_UNAVAILABLE: Final = 429
_SERVER_ERRORS: Final = 500
_MAX_MESSAGE: Final = 500

type_of_error: Final[Mapping[int, type[ApiError]]] = {
    401: ApiForbiddenError,
    403: ApiForbiddenError,
    404: ApiNotFoundError,
    409: ApiConflictError,
}


def read_kubeconfig(path: Path | None) -> SingleConfig:
    """How to reach the API server: a kubeconfig file, or the pod's ServiceAccount. Raises SettingsError."""
    try:
        config = KubeConfig.from_file(path) if path else KubeConfig.from_service_account()
        single = config.get()
    except ConfigError as error:
        raise SettingsError(f"no way to reach the API server: {error}") from error
    if single is None:
        raise SettingsError(f"no way to reach the API server: {path} names no context")
    return single


class ApiClient:
    """The API server, for one asyncio loop."""

    def __init__(self, config: SingleConfig, *, timeout: float = 15.0) -> None:
        params = ConnectionParams(timeout=httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT), trust_env=False)
        self._http = AsyncClient(config, params)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,  # noqa: ANN401 -- JSON
        content_type: str = JSON,
        accept: str = JSON,
        parameters: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One request. Raises a subclass of ApiError."""
        said = f"{method} {path}"
        content = json.dumps(body).encode() if body is not None else None
        headers = {"Accept": accept} | ({"Content-Type": content_type} if content is not None else {})
        try:
            response = await self._http.request(
                method, path, params=dict(parameters or {}), content=content, headers=headers
            )
        except NO_ANSWER as error:
            raise ApiUnavailableError(said, f"no answer ({type(error).__name__}: {error})") from error
        return _read(said, response)

    async def get(self, path: str) -> dict[str, Any]:
        """One object."""
        return await self.request("GET", path)

    async def pages(self, path: str, *, accept: str = JSON) -> AsyncIterator[dict[str, Any]]:
        """A whole list, page by page, as of one moment.

        Raises a subclass of ApiError, also when the list could not be read to its end: 410 when that took too long.
        """
        parameters = {"limit": str(PAGE_SIZE)}
        while True:
            page = await self.request("GET", path, accept=accept, parameters=parameters)
            yield page
            rest = page.get("metadata", {}).get("continue")
            if not rest:
                return
            parameters["continue"] = rest

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; `path` is the collection's."""
        return await self.request("POST", path, body=body, parameters={"fieldManager": FIELD_MANAGER})

    async def ask_to_create(self, path: str, body: Mapping[str, Any]) -> None:
        """Have an object judged that may have the name of one that is there. Raises what its creation would raise.

        Schema, rules, policies, quotas and webhooks have their say before the name is looked at (ApiConflictError).
        """
        parameters = {"fieldManager": FIELD_MANAGER, "dryRun": "All"}
        with suppress(ApiConflictError):
            await self.request("POST", path, body=body, parameters=parameters)

    async def patch(self, path: str, body: Any, *, content_type: str) -> dict[str, Any]:  # noqa: ANN401 -- JSON
        """Change an object or its subresource."""
        return await self.request(
            "PATCH", path, body=body, content_type=content_type, parameters={"fieldManager": FIELD_MANAGER}
        )

    async def delete(self, path: str, *, uid: str, resource_version: str) -> None:
        """Delete the very object, in the very state, that we know."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        await self.request("DELETE", path, body={"preconditions": preconditions, "propagationPolicy": "Background"})


class BlockingApiClient:
    """The API server, for a thread of its own."""

    def __init__(self, config: SingleConfig, *, timeout: float) -> None:
        self._http = Client(config, ConnectionParams(timeout=httpx2.Timeout(timeout), trust_env=False))

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request. Raises a subclass of ApiError."""
        said = f"{method} {path}"
        try:
            response = self._http.request(method, path, json=body)
        except NO_ANSWER as error:
            raise ApiUnavailableError(said, f"no answer ({type(error).__name__}: {error})") from error
        return _read(said, response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _read(said: str, response: httpx2.Response) -> dict[str, Any]:
    if not response.is_success:
        _raise(said, response)
    try:
        answer = response.json()
    except ValueError as error:
        raise ApiUnavailableError(said, "the answer is not JSON", status=response.status_code) from error
    if not isinstance(answer, dict):
        raise ApiUnavailableError(said, "the answer is not an object", status=response.status_code)
    return cast("dict[str, Any]", answer)


def _raise(said: str, response: httpx2.Response) -> NoReturn:
    status = response.status_code
    message = f"{status} {_message(response)}"
    if status == _UNAVAILABLE or status >= _SERVER_ERRORS:
        after = response.headers.get("Retry-After", "")
        raise ApiUnavailableError(said, message, status=status, retry_after=float(after) if after.isdigit() else None)
    raise type_of_error.get(status, ApiRejectedError)(said, message, status=status)


def _message(response: httpx2.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return response.text[:_MAX_MESSAGE]
    return str(answer.get("message", ""))[:_MAX_MESSAGE] if isinstance(answer, dict) else ""
