"""Tests against a real API server without nodes."""

from collections.abc import Iterator

import pytest

from support.api_server import api_server
from support.fault_runs import FaultRuns

__all__ = ["api_server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory needs the API server."""
    for item in items:
        if "e2e/api/" in item.path.as_posix():
            item.add_marker(pytest.mark.apiserver)


@pytest.fixture(scope="session", autouse=True)
def fault_runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRuns | None]:
    """The minutes of failing API servers, which pass beside the other tests; None where nobody asks for them."""
    if not any(item.path.name == "test_operator_faults.py" for item in request.session.items):
        yield None
        return
    with FaultRuns(tmp_path_factory.mktemp("faults")) as runs:
        yield runs
