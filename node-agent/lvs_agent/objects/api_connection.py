"""The connection to the API server: lightkube reads the kubeconfig or the Pod's ServiceAccount, httpx speaks."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError

from lvs_agent.errors import ApiUnavailable, InvalidSettings

_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 15.0
_NOT_FOUND: Final = 404
APPLY: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"


class ApiRefused(ApiUnavailable):
    """The API server answered with an error status."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.retry_after = retry_after

    @property
    def not_found(self) -> bool:
        """404: the object, or the whole kind, does not exist."""
        return self.status == _NOT_FOUND


class ApiConnection:
    """Raw JSON over HTTPS; every failure is an ApiUnavailable, every wait is bounded."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    @classmethod
    def open(cls, kubeconfig: Path | None) -> "ApiConnection":
        """By a kubeconfig file, or as a Pod where none is given. Raises InvalidSettings."""
        timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        where = f"kubeconfig {kubeconfig}" if kubeconfig else "no --kubeconfig, and not in a Pod"
        try:
            config = (KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account()).get()
            # The environment's proxies are for the way out of the cluster, not for the way to its API server.
            client = config and AsyncClient(config, ConnectionParams(timeout=timeout, trust_env=False))
        except (ConfigError, OSError, ssl.SSLError) as error:
            raise InvalidSettings(f"{where}: {error}") from error
        if client is None:
            raise InvalidSettings(f"{where}: it has no current context")
        return cls(client)

    @property
    def host(self) -> str:
        """Where the API server is: an address or a name."""
        return self._client.base_url.host

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET one object or one page of a list."""
        return await self._json("GET", path, params=dict(params or {}))

    async def apply(self, path: str, body: Mapping[str, Any], field_manager: str) -> dict[str, Any]:
        """Server-side apply, as the owner of what is named."""
        return await self._json(
            "PATCH",
            path,
            params={"fieldManager": field_manager, "force": "true"},
            content=json.dumps(body).encode(),
            headers={"Content-Type": APPLY},
        )

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST one object to its collection."""
        return await self._json("POST", path, json=dict(body))

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change an object by a merge patch (RFC 7396)."""
        content = json.dumps(body).encode()
        return await self._json("PATCH", path, content=content, headers={"Content-Type": MERGE_PATCH})

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a watch; a silence longer than this ends it with ApiUnavailable."""
        timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS, read=silence_seconds)
        try:
            async with self._client.stream("GET", path, params=dict(params), timeout=timeout) as response:
                if response.is_error:
                    await response.aread()
                    raise _refusal(response)
                yield response.aiter_lines()
        except (httpx2.HTTPError, httpx2.StreamError, OSError, ConfigError) as error:
            raise ApiUnavailable(_said(error)) from error

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    async def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 -- httpx's own
        try:
            response = await self._client.request(method, path, **request)
        except (httpx2.HTTPError, OSError, ConfigError) as error:
            raise ApiUnavailable(_said(error)) from error
        if response.is_error:
            raise _refusal(response)
        try:
            answer = response.json()
        except ValueError as error:
            raise ApiUnavailable(f"the answer to {method} {path} is no JSON") from error
        if not isinstance(answer, dict):
            raise ApiUnavailable(f"the answer to {method} {path} is no object")
        return answer


def _refusal(response: httpx2.Response) -> ApiRefused:
    try:
        message = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = response.text
    after = response.headers.get("Retry-After", "")
    return ApiRefused(response.status_code, message[:500], float(after) if after.isdecimal() else None)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
