"""The lines that keepalived writes into its FIFO (keepalived.conf(5), vrrp_notify_fifo), read strictly."""

import re
from typing import Final, NamedTuple

from lvs_agent.decide.virtual_routers import RouterKey, router_key
from lvs_api.lvs_node import VirtualRouterState

MAX_LINE: Final = 512
_LINE: Final = re.compile(r'(INSTANCE|GROUP) "([^"\n]{1,300})" ([A-Z_]{1,32}) ([0-9]{1,3})')
_STATES: Final = {
    "MASTER": VirtualRouterState.MASTER,
    "BACKUP": VirtualRouterState.BACKUP,
    "FAULT": VirtualRouterState.FAULT,
    # It ends, or has let the virtual router go with the configuration.
    "STOP": None,
    "DELETED": None,
}
_NO_STATES: Final = {"MASTER_RX_LOWER_PRI", "MASTER_PRIORITY", "BACKUP_PRIORITY"}


class Notification(NamedTuple):
    """What a virtual router does from now on; None: it is gone."""

    router: RouterKey
    state: VirtualRouterState | None


class LineReader:
    """Cuts what comes out of the FIFO into lines, within bounds."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole by now; one that has no end is dropped."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._rest = b""
        return lines


def read_notification(line: bytes) -> Notification | None:
    """A change of a virtual router's state; None for what is none. Raises ValueError for what keepalived never says."""
    found = _LINE.fullmatch(line.decode("ascii", errors="replace"))
    if found is None:
        raise ValueError(f"no notification of keepalived: {line[:MAX_LINE]!r}")
    kind, name, word, _ = found.groups()
    if kind == "GROUP" or word in _NO_STATES:
        return None
    if word not in _STATES:
        raise ValueError(f"an unknown state of keepalived: {line[:MAX_LINE]!r}")
    router = router_key(name)
    if router is None:
        raise ValueError(f"a virtual router that is none of ours: {line[:MAX_LINE]!r}")
    return Notification(router, _STATES[word])
