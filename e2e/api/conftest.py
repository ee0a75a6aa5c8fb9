"""Tests against a real API server without nodes."""

import pytest

from support.api_server import api_server

__all__ = ["api_server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory needs the API server."""
    for item in items:
        if "e2e/api/" in item.path.as_posix():
            item.add_marker(pytest.mark.apiserver)
