"""Zeroes counters where a person asked for it, once for each request."""

import logging
from collections.abc import Callable

from lvs_agent.converge.table import TableOutcome
from lvs_agent.decide.changes import ZeroService
from lvs_agent.decide.zeroing import read_request, services_to_zero
from lvs_agent.kernel.interface import IpvsTable
from lvs_api.lvs_node import CountersZeroed, LvsNodeStatus

_log = logging.getLogger(__name__)


class ZeroKeeper:
    """Owner of what was zeroed last."""

    def __init__(self, ipvs: IpvsTable) -> None:
        self._ipvs = ipvs
        self._done: CountersZeroed | None = None

    def carry_out(
        self, said: str | None, reported: Callable[[], LvsNodeStatus | None], table: TableOutcome, now: str
    ) -> CountersZeroed | None:
        """What was zeroed last, by this request if it is new. Raises IpvsReadFailed and PermissionRefused.

        `said` and `reported` are of one look at the LvsNode: a request that its status answers has been carried out.
        """
        request = read_request(said)
        if request is None or table.unavailable is not None:
            return self._done
        if self._done is None and (before := reported()) is not None:
            self._done = before.counters_zeroed
        if self._done is not None and self._done.request == request.said:
            return self._done
        services = services_to_zero(request, table.desired, table.owned, table.present)
        applied = self._ipvs.apply([ZeroService(service=key) for key in services])
        for failure in applied.failures:
            _log.warning("not zeroed: %s", failure.error)
        _log.info("counters of %d services zeroed, as was asked: %s", applied.written, request.said)
        self._done = CountersZeroed(request=request.said, time=now, services=applied.written)
        return self._done
