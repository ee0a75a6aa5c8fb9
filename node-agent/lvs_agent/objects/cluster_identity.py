"""Which cluster the API server is of: the uid of its namespace kube-system, asked anew with every new connection."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection

_PATH: Final = "/api/v1/namespaces/kube-system"
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 15.0
_log = logging.getLogger(__name__)


class ClusterIdentity:
    """`wake` is called when the answer is known."""

    def __init__(self, api: ApiConnection, wake: Callable[[], None]) -> None:
        self._api = api
        self._wake = wake
        self._doubts = asyncio.Event()
        self._doubts.set()
        self._uid: str | None = None
        self.failure: str | None = None
        """Why it is not known."""

    @property
    def uid(self) -> str | None:
        """The cluster; None while it is not known, or in doubt."""
        return None if self._doubts.is_set() else self._uid

    def doubt(self) -> None:
        """A list or a watch began: it may be another API server's."""
        self._doubts.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        delay = _FIRST_DELAY
        while True:
            await self._doubts.wait()
            self._doubts.clear()
            self._uid = None
            try:
                self._uid = str((await self._api.get(_PATH))["metadata"]["uid"])
            except (ApiUnavailable, KeyError, TypeError) as error:
                if self.failure is None:
                    _log.warning("the cluster's identity is not known: %s", error)
                self.failure = str(error)
                self._wake()
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
                self._doubts.set()
                continue
            delay, self.failure = _FIRST_DELAY, None
            self._wake()
