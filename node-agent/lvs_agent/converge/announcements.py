"""Tells neighbours of VIPs that came, several times over the first seconds: frames get lost.

A VIP comes when it was bound, and when its device comes: up, with a carrier, or with another hardware address. What
could not be sent is tried again for a while, and then when the device changes.
"""

import logging
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from lvs_agent.decide.kernel_state import AddressBinding, Device, KernelLinks
from lvs_agent.errors import AnnounceError
from lvs_agent.kernel.interface import Announcer
from lvs_agent.serve.metrics import AgentMetrics

ANNOUNCE_AFTER: Final = (0.0, 0.3, 1.0, 3.0, 10.0)
"""Seconds after the first announcement of an address."""
RETRY_SECONDS: Final = 1.0
MAX_FAILURES: Final = 30
_log = logging.getLogger(__name__)


def tell_neighbours(announcer: Announcer, metrics: AgentMetrics, bindings: Iterable[AddressBinding]) -> None:
    """Once, where these are; what can not be sent is logged, and not tried again."""
    for binding in bindings:
        try:
            announcer.announce(binding.device, binding.address)
        except AnnounceError as error:
            _log.warning("%s", error)
        else:
            metrics.announcements.inc()


@dataclass(slots=True)
class _Announcement:
    due: float
    first: float = 0.0
    sent: int = 0
    failures: int = 0
    failure: str = ""


class AnnouncementKeeper:
    """Owner of the seam for announcements."""

    def __init__(self, announcer: Announcer, metrics: AgentMetrics, monotonic: Callable[[], float]) -> None:
        self._announcer = announcer
        self._metrics = metrics
        self._monotonic = monotonic
        self._carried: dict[AddressBinding, Device | None] = {}
        """The VIPs that are here, and the device through which neighbours could be told of them then."""
        self._waiting: dict[AddressBinding, _Announcement] = {}

    def next_deadline(self) -> float | None:
        """When the next announcement is due, by the monotonic clock."""
        return min((announcement.due for announcement in self._waiting.values()), default=None)

    def carry(
        self, carried: AbstractSet[AddressBinding], bound: AbstractSet[AddressBinding], links: KernelLinks
    ) -> None:
        """These VIPs are here, some of them `bound` just now."""
        now = self._monotonic()
        before, self._carried = self._carried, {binding: _way_out(binding, links) for binding in carried}
        for binding, device in self._carried.items():
            if device is None:
                self._waiting.pop(binding, None)
            elif binding in bound or before.get(binding) != device:
                self._waiting[binding] = _Announcement(due=now)
        for gone in self._waiting.keys() - carried:
            del self._waiting[gone]

    def announce(self) -> None:
        """Send what is due."""
        now = self._monotonic()
        for binding, announcement in list(self._waiting.items()):
            if announcement.due > now:
                continue
            try:
                self._announcer.announce(binding.device, binding.address)
            except AnnounceError as error:
                if str(error) != announcement.failure:
                    _log.warning("%s", error)
                announcement.failure = str(error)
                announcement.failures += 1
                announcement.due = now + RETRY_SECONDS
            else:
                self._metrics.announcements.inc()
                announcement.first = announcement.first if announcement.sent else now
                announcement.sent += 1
                if announcement.sent < len(ANNOUNCE_AFTER):
                    announcement.due = announcement.first + ANNOUNCE_AFTER[announcement.sent]
            if announcement.sent == len(ANNOUNCE_AFTER) or announcement.failures == MAX_FAILURES:
                del self._waiting[binding]


def _way_out(binding: AddressBinding, links: KernelLinks) -> Device | None:
    """The device, if frames get out of it."""
    device = links.devices.get(binding.device)
    return device if device is not None and device.up and device.carrier else None
