"""What this agent made in this boot, what it found before, and drains under way: on disk, so that a restart knows it.

A ledger of another boot owns nothing: the kernel's state went with that boot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from lvs_agent.decide.drain import Drain, DrainCause, DrainKey
from lvs_agent.decide.kernel_settings import SyncDaemon, SyncDaemons, SyncState
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    FirewallMarkKey,
    ReceivePort,
    ServiceKey,
    TransportProtocol,
)
from lvs_agent.decide.kernel_sysctls import SysctlKey
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_agent.disk.state_file import read_state, write_state
from lvs_agent.errors import StateNotWritten
from lvs_api.node_settings import SettingKey

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Everything of one boot."""

    ipvs: OwnedIpvs = field(default_factory=dict)
    bindings: frozenset[AddressBinding] = frozenset()
    sysctls: Mapping[SysctlKey, int] = field(default_factory=dict)
    """Values from before our first write."""
    settings: Mapping[SettingKey, int] = field(default_factory=dict)
    """The same of what IPVS has once."""
    daemons: SyncDaemons = field(default_factory=dict)
    """Sync daemons, as they were started."""
    ports: frozenset[ReceivePort] = frozenset()
    """For GUE."""
    drains: Mapping[DrainKey, Drain] = field(default_factory=dict)


class LedgerFile:
    """The ledger's place on disk. Writes only what differs from what is there."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._stored: Ledger | None = None

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    @property
    def aside(self) -> Path:
        """Where one that was found damaged in this boot is kept, for a person to look at."""
        return self._path.with_name(f"{self._path.name}.damaged.{self._boot_id[:8]}")

    @property
    def stored(self) -> Ledger:
        """What the file says of this boot, as far as this agent has read or written it."""
        return self._stored or Ledger()

    def read(self) -> Ledger:
        """The ledger of this boot; an empty one when there is none. Raises StateFileDamaged."""
        body = read_state(self._path, _FORMAT)
        if body is None or body["bootID"] != self._boot_id:
            return Ledger()
        self._stored = _read_ledger(body)
        return self._stored

    def write(self, ledger: Ledger, *, anyway: bool = False) -> bool:
        """Store it where it differs, or `anyway`; whether it did. Raises StateNotWritten."""
        if ledger == self._stored and not anyway:
            return False
        try:
            write_state(self._path, _FORMAT, {"bootID": self._boot_id} | _raw_ledger(ledger))
        except StateNotWritten as error:
            if error.is_in_place:  # and good for this boot, which is all that it is for
                self._stored = ledger
            raise
        self._stored = ledger
        return True


def _raw_ledger(ledger: Ledger) -> dict[str, Any]:
    return {
        "ipvs": [
            [_raw_service(service), sorted([str(d.address), d.port] for d in destinations)]
            for service, destinations in ledger.ipvs.items()
        ],
        "bindings": sorted([str(b.address), b.device] for b in ledger.bindings),
        "sysctls": [[list(key.path), value] for key, value in sorted(ledger.sysctls.items())],
        "settings": [[*key, value] for key, value in sorted(ledger.settings.items())],
        "daemons": [
            [int(state), d.interface, d.sync_id, str(d.group), d.port, d.ttl, d.max_length]
            for state, d in sorted(ledger.daemons.items())
        ],
        "ports": sorted([int(port.family), port.port] for port in ledger.ports),
        "drains": [
            [
                [_raw_service(key.service), [str(key.destination.address), key.destination.port], key.cause],
                [drain.started, drain.timeout_seconds, drain.has_weight, drain.over],
            ]
            for key, drain in ledger.drains.items()
        ],
    }


def _read_ledger(body: dict[str, Any]) -> Ledger:
    return Ledger(
        ipvs={
            _read_service(service): frozenset(_read_destination(d) for d in destinations)
            for service, destinations in body["ipvs"]
        },
        bindings=frozenset(AddressBinding(address=ip_address(a), device=device) for a, device in body["bindings"]),
        sysctls={SysctlKey(tuple(path)): value for path, value in body["sysctls"]},
        # An agent of before wrote none of these three.
        settings={SettingKey(part, name): value for part, name, value in body.get("settings", ())},
        daemons={SyncState(state): _read_daemon(raw) for state, *raw in body.get("daemons", ())},
        ports=frozenset(ReceivePort(AddressFamily(family), port) for family, port in body.get("ports", ())),
        drains={
            DrainKey(
                service=_read_service(service), destination=_read_destination(destination), cause=DrainCause(cause)
            ): Drain(started=started, timeout_seconds=timeout, has_weight=has_weight, over=over)
            for (service, destination, cause), (started, timeout, has_weight, over) in body["drains"]
        },
    )


def _raw_service(key: AnyServiceKey) -> list[Any]:
    if isinstance(key, FirewallMarkKey):
        return ["mark", int(key.family), key.mark]
    return ["address", int(key.protocol), str(key.address), key.port]


def _read_service(raw: list[Any]) -> AnyServiceKey:
    if raw[0] == "mark":
        return FirewallMarkKey(family=AddressFamily(raw[1]), mark=raw[2])
    return ServiceKey(protocol=TransportProtocol(raw[1]), address=ip_address(raw[2]), port=raw[3])


def _read_daemon(raw: list[Any]) -> SyncDaemon:
    interface, sync_id, group, port, ttl, max_length = raw
    return SyncDaemon(
        interface=interface, sync_id=sync_id, group=ip_address(group), port=port, ttl=ttl, max_length=max_length
    )


def _read_destination(raw: list[Any]) -> DestinationKey:
    return DestinationKey(address=ip_address(raw[0]), port=raw[1])
