"""When a watch shows a weight: in the pool that a user edits, and in the slice that the operator writes."""

import asyncio
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.watch import Reflector, Selection
from lvs_api.api_group import API_VERSION
from lvs_api.kinds import REAL_SERVER_POOL, SERVICE_SLICE, Kind

DEADLINE: Final = 60.0
_LOOK_SECONDS: Final = 0.2
Raw = dict[str, Any]


class WeightsSeen:
    """Watches of both kinds, in a thread; once both are listed it notes each weight of one real server."""

    def __init__(self, kubeconfig: Path, real_server: str) -> None:
        self._kubeconfig = kubeconfig
        self._real_server = real_server
        self._seen: dict[tuple[str, str, int], float] = {}
        self._changed = threading.Condition()
        self._listed, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="weights", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listed.wait(DEADLINE):
            raise SystemExit(f"pools and slices were not listed within {DEADLINE:g} s")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, kind: Kind[Any, Any], name: str, weight: int) -> float:
        """When the weight was seen in an object of the kind, of the service of this name (perf_counter)."""
        key = (kind.name, name, weight)
        with self._changed:
            if not self._changed.wait_for(lambda: key in self._seen, DEADLINE):
                raise SystemExit(f"weight {weight} of {name} was not seen in a {kind.name} within {DEADLINE:g} s")
            return self._seen[key]

    async def _run(self) -> None:
        api = ApiConnection.open(self._kubeconfig)
        copies = [
            Reflector(api, _all(kind), self._wake, keep=partial(self._note, kind))
            for kind in (REAL_SERVER_POOL, SERVICE_SLICE)
        ]
        tasks = [asyncio.create_task(one.run()) for one in copies]
        while not self._stop.is_set():
            if all(one.complete for one in copies):
                self._listed.set()
            await asyncio.sleep(_LOOK_SECONDS)  # a rhythm in which to be ended
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await api.close()

    def _note(self, kind: Kind[Any, Any], raw: Raw) -> str:
        """What the copy keeps of an object: next to nothing."""
        spec = raw["spec"]
        members = spec.get("members" if kind is SERVICE_SLICE else "realServers") or ()
        name = spec["serviceRef"]["name"] if kind is SERVICE_SLICE else raw["metadata"]["name"]
        if self._listed.is_set():
            now = time.perf_counter()
            with self._changed:
                for one in members:
                    if one["name"] == self._real_server:
                        self._seen.setdefault((kind.name, name, one["weight"]), now)
                self._changed.notify_all()
        return str(raw["metadata"]["resourceVersion"])

    def _wake(self) -> None:
        """The copies are not looked at."""


def _all(kind: Kind[Any, Any]) -> Selection:
    return Selection(path=f"/apis/{API_VERSION}/{kind.plural}", kind=kind.name)
