"""A view that lacks a kind: what the operator says of it where it is asked whether it is ready."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.errors import ApiError, ApiForbiddenError, ApiNotFoundError, ApiUnavailableError
from lvs_operator.watched_kinds import CORE_SERVICES, NAMESPACES, NODES


@dataclass
class Empty:
    """An API server that has no objects, and no answer for Services."""

    error: ApiError | None

    async def pages(self, path: str, **_: object) -> AsyncIterator[dict[str, Any]]:
        if self.error is not None and path.endswith("/services"):
            raise self.error
        yield {"metadata": {"resourceVersion": "1"}, "items": []}


@pytest.mark.parametrize(
    "error",
    [
        ApiForbiddenError("GET /api/v1/services", "403 services is forbidden", status=403),
        ApiNotFoundError("GET /api/v1/services", "404 page not found", status=404),
        ApiUnavailableError("GET /api/v1/services", "no answer"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_request_that_failed_is_named(error: ApiError) -> None:
    api = Empty(error)
    cache = Cache((NODES, CORE_SERVICES, NAMESPACES))
    assert cache.complaint == "not listed completely yet: Node, Service, Namespace"
    with pytest.raises(type(error)):
        await cache.check(cast("ApiClient", api))
    assert cache.complaint == f"not listed completely yet: Service, Namespace ({error})"
    api.error = None
    await cache.check(cast("ApiClient", api))
    assert cache.complaint is None
