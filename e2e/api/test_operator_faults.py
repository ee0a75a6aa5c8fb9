"""The API server fails in every way for a minute: the operator lives on, takes nothing away and recovers by itself.

All runs go on together, and beside nothing else: six control planes leave other tests too little of two processors.
"""

from collections.abc import Iterator

import pytest

from support.fault_proxy import Fault
from support.fault_runs import FAULT_SECONDS, FAULTS, FaultRuns

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def fault_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRuns]:
    """The minutes of failing API servers."""
    with FaultRuns(tmp_path_factory.mktemp("faults")) as runs:
        yield runs


@pytest.mark.timeout(FAULT_SECONDS + 400)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
def test_it_lives_through(fault_runs: FaultRuns, fault: Fault) -> None:
    fault_runs.result(fault)
