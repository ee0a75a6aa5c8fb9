"""Fixtures of the agent's tests."""

import os
from collections.abc import Iterator

import pytest

from lvs_agent.kernel.testing import NetworkNamespace


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[NetworkNamespace]:
    """An empty network namespace with lo up; needs root."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = NetworkNamespace(f"lvs-test-{os.getpid()}-{hash(request.node.name) % 10000}")
    made.create()
    yield made
    made.delete()
