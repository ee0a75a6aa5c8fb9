"""Has a Master tell neighbours again when a weaker director has told them that the addresses are there.

A Backup that misses three adverts becomes Master, tells neighbours, and lets go with the next advert that it hears. The
Master was never anything else. Its keepalived tells neighbours again when it hears an advert of the Backup: that with
which the Backup took the addresses, or that with which it lets go (`vrrp_garp_lower_prio_repeat` and
`vrrp_higher_prio_send_advert`; vrrp_state_master_rx in vrrp.c). Where both are lost it never learns of it, and until it
tells neighbours in its turn, once a minute, they send to the Backup. So what the Backup tells neighbours counts, too:
it comes to the Master in other frames, and by broadcast, which passes where multicast or protocol 112 does not.

Bounded: once a second for each virtual router, three times after the last claim. Only the stronger of two answers, so
that two Masters of which one does not hear the other do not contradict one another for ever.
"""

import logging
from collections.abc import Callable
from typing import Final

from lvs_agent.converge.announcements import tell_neighbours
from lvs_agent.converge.claimants import Scene
from lvs_agent.decide.claims import MacsOfDirectors, is_claimed_by_weaker
from lvs_agent.decide.kernel_state import KernelLinks
from lvs_agent.decide.virtual_routers import RouterKey
from lvs_agent.decide.vrrp_config import PlacedRouter
from lvs_agent.kernel.interface import Announcer, Claims
from lvs_agent.serve.metrics import AgentMetrics

TIMES: Final = 3
"""Frames get lost, above all on a link on which adverts did."""
SPACING_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class ClaimAnswerer:
    """Owner of the seam for claims."""

    def __init__(
        self, claims: Claims, announcer: Announcer, metrics: AgentMetrics, monotonic: Callable[[], float]
    ) -> None:
        self._claims = claims
        self._announcer = announcer
        self._metrics = metrics
        self._monotonic = monotonic
        self._left: dict[RouterKey, int] = {}
        """How often neighbours are still to be told."""
        self._told: dict[RouterKey, float] = {}

    def follow(self, scene: Scene, macs: MacsOfDirectors) -> None:
        """Answer what was claimed since the last round, and what is still to be repeated."""
        now = self._monotonic()
        masters = {one.key: one for one in scene.placed if one.key in scene.masters and one.router.weaker}
        heard = self._claims.hear({binding.address for one in masters.values() for binding in one.bindings})
        self._left = {key: left for key, left in self._left.items() if key in masters}
        self._told = {key: told for key, told in self._told.items() if now - told < SPACING_SECONDS}
        for key, one in masters.items():
            if is_claimed_by_weaker(one, heard, macs):
                if key not in self._left:
                    _log.warning("a director of lower priority has claimed addresses of %s: neighbours are told", key)
                self._left[key] = TIMES
            if key in self._left and key not in self._told:
                self._tell(one, scene.links)
                self._told[key] = now
                self._left[key] -= 1
                if not self._left[key]:
                    del self._left[key]

    def _tell(self, one: PlacedRouter, links: KernelLinks) -> None:
        # What is not there any more has been let go since the daemon spoke last: whoever claims it is right.
        there = links.bindings()
        tell_neighbours(self._announcer, self._metrics, [binding for binding in one.bindings if binding in there])
