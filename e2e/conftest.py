"""What all tests on the lab share."""

from support.cluster_fixtures import cluster
from support.lab_fixtures import lab_of, lab_pool, own_lab, plain_lab

__all__ = ["cluster", "lab_of", "lab_pool", "own_lab", "plain_lab"]
