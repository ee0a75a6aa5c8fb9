"""What all tests on the lab share."""

from support.lab_fixtures import lab_of, lab_pool, own_lab, plain_lab

__all__ = ["lab_of", "lab_pool", "own_lab", "plain_lab"]
