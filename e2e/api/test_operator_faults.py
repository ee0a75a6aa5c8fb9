"""The API server fails in every way for a minute: the operator lives on, takes nothing away and recovers by itself.

The runs begin with the first test of this directory (conftest.py); here their results are waited for.
"""

import pytest

from support.fault_proxy import Fault
from support.fault_runs import FAULT_SECONDS, FAULTS, FaultRuns


@pytest.mark.timeout(FAULT_SECONDS + 400)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
def test_it_lives_through(fault_runs: FaultRuns | None, fault: Fault) -> None:
    assert fault_runs is not None
    fault_runs.result(fault)
