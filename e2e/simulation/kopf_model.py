"""The operator's events, as kopf brings them."""

import asyncio
from collections.abc import Callable
from random import Random

from lvs_operator.watched_kinds import WATCHED_KINDS, WatchedKind
from simulation.model_api import ModelApi, Raw
from simulation.wire import Reach


class Kopf:
    """Events for the operator: late, out of order between objects, some lost while it was not connected.

    It never tells that an object went while it was not connected; after that it shows what there is.
    """

    def __init__(
        self,
        api: ModelApi,
        reach: Reach,
        rng: Random,
        deliver: Callable[[WatchedKind, Raw, bool], None],
        listed: Callable[[], None],
    ) -> None:
        self._api = api
        self._reach = reach
        self._rng = rng
        self._deliver = deliver
        self._listed = listed
        self._kinds = {kind.plural: kind for kind in WATCHED_KINDS}
        self._connected = False
        self._epoch = reach.epoch
        self._over = False

    def witness(self, _: str, plural: str, old: Raw | None, new: Raw | None) -> None:
        """Something changed."""
        if self._over or not self._connected or plural not in self._kinds or self._reach.silent:
            return
        raw = new if new is not None else old
        assert raw is not None
        delay = self._reach.lag + self._rng.uniform(0.0, 0.03)
        asyncio.get_running_loop().call_later(delay, self._tell, self._kinds[plural], raw, new is None)

    async def run(self) -> None:
        """Connect, and again where that ends."""
        while True:
            is_there = self._api.up and not self._reach.cut and self._reach.epoch == self._epoch
            if self._connected and not is_there:
                self._connected = False
            elif not self._connected and self._api.up and not self._reach.cut:
                self._epoch, self._connected = self._reach.epoch, True
                for plural, kind in self._kinds.items():
                    for raw in list(self._api.objects(plural).values()):
                        self._tell(kind, raw, False)
                        self._listed()
            await asyncio.sleep(1.0)

    def end(self) -> None:
        """Its process is gone."""
        self._over = True

    def _tell(self, kind: WatchedKind, raw: Raw, gone: bool) -> None:
        if not self._over:
            self._deliver(kind, raw, gone)
