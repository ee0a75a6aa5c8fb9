"""A fresh object is not ready, and kubectl wait, Flux and Argo CD can see it."""

from typing import Any

import pytest

from lvs_api.conditions import EPOCH
from lvs_api.testing import director_group, real_server_pool, virtual_service
from support.api_server import ApiServer


@pytest.mark.parametrize(
    "raw", [virtual_service("fresh"), real_server_pool("fresh"), director_group("fresh")], ids=lambda raw: raw["kind"]
)
def test_a_fresh_object_is_pending(api_server: ApiServer, raw: dict[str, Any]) -> None:
    api_server.create(raw).raise_for_status()
    try:
        (condition,) = api_server.get(raw).raise_for_status()["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "Unknown", "Pending")
        assert condition["lastTransitionTime"] == EPOCH
    finally:
        api_server.delete(raw).raise_for_status()
