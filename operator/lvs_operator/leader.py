"""Which replica may write: a Lease, renewed from a thread of its own, so that no round can hold it up.

As client-go's leader election: another's Lease is taken over when it has not changed for its duration, counted on our
own monotonic clock, so clocks need not agree. What differs: losing the Lease closes the write gate and nothing else.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lvs_api.api_group import LEASE_OPERATOR
from lvs_operator.api_client import BlockingApiClient
from lvs_operator.errors import ApiConflictError, ApiError, ApiNotFoundError, NotLeaderError
from lvs_operator.settings import LeaseTimes

logger = logging.getLogger(__name__)

RELEASED_DURATION: Final = 1
"""Seconds in a released Lease: it may be taken at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """Another replica's Lease as we last saw it change."""

    holder: str
    version: str
    seen: float
    """When, on our monotonic clock."""
    duration: float


class Leader:
    """Holds or waits for the Lease. `start` and `stop` from the main thread; `may_write` from any."""

    def __init__(
        self,
        *,
        client: BlockingApiClient,
        namespace: str,
        identity: str,
        times: LeaseTimes,
        on_gain: Callable[[bool], None],
    ) -> None:
        """`on_gain` is told whether another replica may have written since this one last led."""
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._identity = identity
        self._times = times
        self._on_gain = on_gain
        self._gate_until = float("-inf")
        self._tenure: int | None = None
        """Of our last time in the lead, as the Lease counts its transitions."""
        self._sighting: Sighting | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to stand for election."""
        self._thread.start()

    def stop(self) -> None:
        """Close the gate, then give the Lease back, so that another takes over at once."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; without it this replica can never lead again."""
        return self._thread.is_alive()

    @property
    def leads(self) -> bool:
        """Whether the write gate is open."""
        return time.monotonic() < self._gate_until and not self._stop.is_set()

    def may_write(self) -> None:
        """Raise NotLeaderError unless the gate is open; called before every write."""
        if not self.leads:
            raise NotLeaderError(f"{self._identity} does not hold the Lease {self._namespace}/{LEASE_OPERATOR}")

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self._times.retry
            sent = time.monotonic()
            try:
                tenure = self._acquire_or_renew(sent)
            except ApiConflictError:
                self._close_gate()  # another replica was faster; its Lease is read at the next look
            except ApiError as error:
                pause = self._times.retry_failed
                logger.warning("Lease: %s", error)
            else:
                if tenure is None:
                    self._close_gate()
                else:
                    self._open_gate(tenure, sent)
            self._stop.wait(pause)
        self._release()

    def _open_gate(self, tenure: int, sent: float) -> None:
        led = self.leads
        self._gate_until = sent + self._times.write_for
        if not led:
            logger.info("leading as %s", self._identity)
            self._on_gain(tenure != self._tenure)
        self._tenure = tenure

    def _close_gate(self) -> None:
        if self.leads:
            logger.warning("no longer leading: the Lease is another's")
        self._gate_until = float("-inf")

    def _acquire_or_renew(self, now: float) -> int | None:
        """The number of the tenure that we hold now, None where another holds the Lease."""
        try:
            lease = self._client.request("GET", f"{self._collection}/{LEASE_OPERATOR}")
        except ApiNotFoundError:
            self._client.request("POST", self._collection, self._fresh())
            return 0
        spec = lease.get("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder != self._identity and not self._expired(lease, now):
            return None
        lease = self._client.request("PUT", f"{self._collection}/{LEASE_OPERATOR}", self._taken(lease, holder))
        return int(lease["spec"]["leaseTransitions"])

    def _expired(self, lease: dict[str, Any], now: float) -> bool:
        spec, version = lease.get("spec", {}), lease["metadata"]["resourceVersion"]
        holder = spec.get("holderIdentity") or ""
        if not holder:
            return True
        duration = float(spec.get("leaseDurationSeconds") or self._times.duration)
        if self._sighting is None or self._sighting.version != version:
            self._sighting = Sighting(holder=holder, version=version, seen=now, duration=duration)
        return now - self._sighting.seen > self._sighting.duration

    def _fresh(self) -> dict[str, Any]:
        metadata = {"name": LEASE_OPERATOR, "namespace": self._namespace}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": self._spec(acquired=_now(), transitions=0),
        }

    def _taken(self, lease: dict[str, Any], holder: str) -> dict[str, Any]:
        """The Lease with us as its holder; its resourceVersion makes a faster one win."""
        old = lease.get("spec", {})
        transitions = int(old.get("leaseTransitions") or 0)
        if holder == self._identity:
            return lease | {"spec": self._spec(acquired=old.get("acquireTime") or _now(), transitions=transitions)}
        return lease | {"spec": self._spec(acquired=_now(), transitions=transitions + 1)}

    def _spec(self, *, acquired: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._times.duration),
            "acquireTime": acquired,
            "renewTime": _now(),
            "leaseTransitions": transitions,
        }

    def _release(self) -> None:
        """Leave the Lease without a holder, if it is ours; no answer means that it runs out by itself."""
        held = self._gate_until > time.monotonic()
        self._gate_until = float("-inf")
        if not held:
            return
        try:
            lease = self._client.request("GET", f"{self._collection}/{LEASE_OPERATOR}")
            if lease.get("spec", {}).get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": RELEASED_DURATION, "renewTime": _now()}
                self._client.request("PUT", f"{self._collection}/{LEASE_OPERATOR}", lease)
                logger.info("released the Lease")
        except ApiError as error:
            logger.warning("the Lease was not released and runs out by itself: %s", error)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
