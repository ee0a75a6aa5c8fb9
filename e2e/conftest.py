"""What all tests on the lab share."""

import pytest

from support.cluster_fixtures import cluster
from support.lab_fixtures import lab_of, lab_pool, own_lab, plain_lab
from support.upgrade_option import add_upgrade_option

__all__ = ["cluster", "lab_of", "lab_pool", "own_lab", "plain_lab"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of single scenarios."""
    add_upgrade_option(parser)
