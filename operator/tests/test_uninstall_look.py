"""The hook of `helm uninstall`, where something writes between its look and its own write.

All else: e2e/api/test_uninstall.py.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from lvs_operator import uninstall
from lvs_operator.api_client import BlockingApiClient
from lvs_operator.errors import ApiConflictError, ApiError, ApiForbiddenError
from lvs_operator.uninstall import Release, Uninstall

SCALE = "/apis/apps/v1/namespaces/lvs/deployments/operator/scale"
RELEASE = Release(namespace="lvs", deployment="operator", daemonset="agent", groups=frozenset())


class CleanCluster(BlockingApiClient):
    """Nothing is left but the operator's Deployment, to whose status its controller writes as often as it is told."""

    def __init__(self, *, writes_meanwhile: int = 0, refusal: ApiError | None = None) -> None:
        self.writes_meanwhile = writes_meanwhile
        self.refusal = refusal
        self.version = 1
        self.replicas = 2
        self.deleted: list[str] = []

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if method == "DELETE":
            self.deleted.append(path)
        if path != SCALE:
            return {"items": []}
        if body is not None:
            self._put(body)
        return {
            "metadata": {"name": "operator", "resourceVersion": str(self.version)},
            "spec": {"replicas": self.replicas} if self.replicas else {},
            "status": {"selector": "app=operator"},
        }

    def _put(self, body: Mapping[str, Any]) -> None:
        if self.refusal is not None:
            raise self.refusal
        if self.writes_meanwhile:
            self.writes_meanwhile -= 1
            self.version += 1
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiConflictError(f"PUT {SCALE}", "409 the object has been modified", status=409)
        self.version += 1
        self.replicas = body["spec"]["replicas"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uninstall, "LOOK_SECONDS", 0.0)


def test_who_writes_to_the_deployment_meanwhile_fails_no_uninstall() -> None:
    cluster = CleanCluster(writes_meanwhile=2)
    told: list[str] = []
    Uninstall(cluster, RELEASE).run(60, told.append)
    assert (cluster.replicas, cluster.deleted) == (0, ["/apis/apps/v1/namespaces/lvs/daemonsets/agent"])
    assert told == [f"Waiting for the API server: PUT {SCALE}: 409 the object has been modified"]


def test_a_refusal_is_told_at_once() -> None:
    cluster = CleanCluster(refusal=ApiForbiddenError(f"PUT {SCALE}", "403", status=403))
    told: list[str] = []
    with pytest.raises(ApiForbiddenError):
        Uninstall(cluster, RELEASE).run(60, told.append)
    assert told == []
    assert cluster.deleted == []
