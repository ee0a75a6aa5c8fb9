"""Has the kernel's FTP helper loaded where a service needs it. It is never unloaded: whose else it is, nobody knows."""

import logging
from collections.abc import Callable
from typing import Final

from lvs_agent.decide.helped_ports import ftp_ports
from lvs_agent.decide.prepared_plan import PreparedPlan
from lvs_agent.errors import IpvsUnavailable
from lvs_agent.kernel.interface import FtpHelper

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_log = logging.getLogger(__name__)


class FtpHelperKeeper:
    """Owner of the seam to the helper."""

    def __init__(self, helper: FtpHelper, monotonic: Callable[[], float]) -> None:
        self._helper = helper
        self._monotonic = monotonic
        self._due = 0.0
        self._delay = _FIRST_RETRY
        self.followed: frozenset[int] = frozenset()
        """What it follows, as far as anybody needs one."""

    def converge(self, prepared: PreparedPlan) -> None:
        """Before services are made: the kernel asks for a helper once, when a connection begins.

        Raises IpvsReadFailed and PermissionRefused.
        """
        wanted = ftp_ports(prepared)
        self.followed = self._helper.ports() if wanted else frozenset()
        if not wanted or self.followed:
            self._due, self._delay = 0.0, _FIRST_RETRY
        elif self._monotonic() >= self._due:
            self._load()

    def _load(self) -> None:
        try:
            self._helper.load()
        except IpvsUnavailable:
            return  # the table says so
        self.followed = self._helper.ports()
        if self.followed:
            _log.info("the kernel's FTP helper follows ports %s", sorted(self.followed))
            return
        _log.warning("the kernel's FTP helper could not be loaded")
        self._due = self._monotonic() + self._delay
        self._delay = min(2 * self._delay, _LONGEST_RETRY)
