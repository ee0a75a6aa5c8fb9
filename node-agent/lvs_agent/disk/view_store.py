"""The last complete view on disk, from which an agent serves that starts while the API server is away.

A view that the disk does not take is tried again after 1, 2, 4 … 30 s; the plan does not wait for it. All of it is
written each time, which with 10,000 real servers is two megabytes: while edits come one after the other it is written
for a tenth of the time at most, and what comes meanwhile is written together. At the agent's end what is not written
yet is: without it the next one, where the API server is away, would make again what this one has just removed.
"""

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from lvs_agent.decide.faults import Fault
from lvs_agent.disk.packed_slice import PackedSlice, Raw, pack
from lvs_agent.disk.state_file import read_state, write_state_text
from lvs_agent.errors import StateFileDamaged, StateNotWritten
from lvs_api.conditions import Reason

_FORMAT: Final = 1
_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 30.0
_REST: Final = 9
"""So many times as long as a write took none is begun."""
_LONGEST_REST: Final = 5.0
_LAST_WRITE: Final = 5.0
"""So long an agent that is ended waits for its disk."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredView:
    """Raw objects as the API server gave them, without what changes all the time."""

    cluster_id: str
    """uid of the namespace kube-system: the cluster that this is a view of."""
    node_name: str
    node: Raw
    """The LvsNode."""
    groups: tuple[Raw, ...]
    slices: tuple[PackedSlice, ...]


class ViewStore:
    """The view's place on disk. Writes only what differs from what is there."""

    def __init__(self, path: Path, failures: Counter | None = None) -> None:
        self._path = path
        self._failures = failures
        self._stored: StoredView | None = None
        self._put: StoredView | None = None
        self._writing: asyncio.Task[StateNotWritten | None] | None = None
        self._news = asyncio.Event()
        self.fault: Fault | None = None
        """What is the matter with the file; None once the last view is in it."""

    def read(self, node_name: str) -> StoredView | None:
        """The last view of this node; None when there is none. Raises StateFileDamaged."""
        try:
            body = read_state(self._path, _FORMAT)
        except StateFileDamaged as error:
            self._failed(Reason.STATE_DAMAGED, f"{error}: it is not used")
            raise
        if body is None:
            return None
        if body["nodeName"] != node_name:
            _log.warning("%s is a view of the node %s: it is not used", self._path, body["nodeName"])
            return None
        self._stored = StoredView(
            cluster_id=body["clusterID"],
            node_name=body["nodeName"],
            node=body["node"],
            groups=tuple(body["groups"]),
            slices=tuple(map(pack, body["slices"])),
        )
        return self._stored

    def write(self, view: StoredView) -> bool:
        """Store it where it differs; whether it did. Raises StateNotWritten."""
        if view == self._stored:
            return False
        head = {
            "clusterID": view.cluster_id,
            "groups": list(view.groups),
            "node": view.node,
            "nodeName": view.node_name,
        }
        text = json.dumps(head, separators=(",", ":"), sort_keys=True)
        slices = ",".join(one.text for one in view.slices)
        write_state_text(self._path, _FORMAT, f'{text[:-1]},"slices":[{slices}]}}')
        self._stored = view
        return True

    def put(self, view: StoredView) -> None:
        """Have it stored as soon as the disk takes it, unless another one is put before."""
        self._put = view
        self._news.set()

    async def run(self) -> None:
        """Store what is put until cancelled, and then the last of it."""
        try:
            await self._follow()
        except asyncio.CancelledError:
            await self._finish()
            raise

    async def _follow(self) -> None:
        delay = _FIRST_RETRY
        while True:
            await self._news.wait()
            self._news.clear()
            if self._put is None:
                continue
            began = time.monotonic()
            self._writing = asyncio.create_task(self._attempt(self._put))
            await asyncio.wait({self._writing})  # it goes on where this is cancelled
            if (error := self._writing.result()) is not None:
                self._failed(
                    Reason.STATE_NOT_WRITTEN,
                    f"{error}: an agent that starts without the API server begins with an older view, or none",
                )
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_RETRY)
                self._news.set()
            else:
                self.fault = None
                delay = _FIRST_RETRY
                await asyncio.sleep(min(_REST * (time.monotonic() - began), _LONGEST_REST))

    async def _attempt(self, view: StoredView) -> StateNotWritten | None:
        """Write in a thread; why the disk did not take it."""
        try:
            await asyncio.to_thread(self.write, view)
        except StateNotWritten as error:
            return error
        return None

    async def _finish(self) -> None:
        """Store what was put and is not stored, after the write that is under way: two are never at work together."""
        try:
            async with asyncio.timeout(_LAST_WRITE):
                if self._writing is not None:
                    await asyncio.wait({self._writing})
                error = await self._attempt(self._put) if self._put is not None else None
        except TimeoutError:
            _log.warning("the last view is not stored: the disk has not taken it within %.0f s", _LAST_WRITE)
        else:
            if error is not None:
                _log.warning("the last view is not stored: %s", error)

    def _failed(self, reason: Reason, message: str) -> None:
        if self._failures is not None:
            self._failures.inc()
        fault = Fault(reason=reason, message=message)
        if fault != self.fault:
            _log.error("the last view: %s", message)
        self.fault = fault
