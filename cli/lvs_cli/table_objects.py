"""From a saved table to objects that mean the same.

Equal tables give equal objects with equal names.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from lvs_api.api_group import API_VERSION
from lvs_api.kinds import REAL_SERVER_POOL, VIRTUAL_SERVICE, Kind
from lvs_api.network_types import Family, ForwardingMethod, Protocol
from lvs_cli.saved_table import SavedPersistence, SavedTable
from lvs_cli.table_fronts import Front, Member, Settings, fronts_of, place
from lvs_core.plan import AnyVirtualKey, IpAddress, MarkKey, PlannedTunnel, VirtualServerKey, family_of_ip

Raw = dict[str, Any]
MOST_PORTS: Final = 32
"""Of one LvsVirtualService."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """For whom the objects are."""

    director_group: str
    namespace: str | None = None
    """None: it is not written into them."""
    paused: bool = False
    """Whether agents are to leave the services as they run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableObjects:
    """What a table becomes."""

    documents: tuple[Raw, ...]
    """Each pool before the first service that uses it."""
    losses: tuple[str, ...]
    """What the objects can not say, by the line where it stands."""
    notes: tuple[str, ...]
    """What they say otherwise than it stands there."""


def objects_of(table: SavedTable, target: Target) -> TableObjects:
    """The objects, for the directors of one group."""
    found = fronts_of(table)
    pools: dict[tuple[Member, ...], str] = {}
    documents: list[Raw] = []
    for name, group in _services(found.fronts):
        members = group[0].members
        if members not in pools:
            pools[members] = name
            documents.append(_document(REAL_SERVER_POOL, name, target, _pool_spec(members)))
        documents.append(_document(VIRTUAL_SERVICE, name, target, _service_spec(group, pools[members], target)))
    return TableObjects(documents=tuple(documents), losses=found.losses, notes=found.notes)


def _services(fronts: Iterable[Front]) -> Iterator[tuple[str, tuple[Front, ...]]]:
    """What becomes one LvsVirtualService, with its name: an address alone where all its ports are one."""
    for _, there in groupby(sorted(fronts, key=_order), key=_address):
        together: dict[object, list[Front]] = {}
        for front in there:
            alone = isinstance(front.key, MarkKey) or any(one.port is not None for one in front.members)
            together.setdefault((front.settings, front.members, front.key if alone else None), []).append(front)
        groups = [
            tuple(group[first : first + MOST_PORTS])
            for group in together.values()
            for first in range(0, len(group), MOST_PORTS)
        ]
        for group in groups:
            yield _name(group[0].key, alone=len(groups) == 1), group


def _order(front: Front) -> tuple[Any, ...]:
    if isinstance(front.key, MarkKey):
        return (1, front.key.mark, front.key.family)
    return (0, place(front.key.address), tuple(Protocol).index(front.key.protocol), front.key.port)


def _address(front: Front) -> AnyVirtualKey | IpAddress:
    return front.key if isinstance(front.key, MarkKey) else front.key.address


def _name(key: AnyVirtualKey, *, alone: bool) -> str:
    if isinstance(key, MarkKey):
        return f"mark-{key.mark}-{key.family.lower()}"
    name = f"vip-{_dashed(key.address)}"
    return name if alone else f"{name}-{key.protocol.lower()}-{key.port}"


def _dashed(address: IpAddress) -> str:
    """An address as a part of a name, which must not end with a dash."""
    text = str(address).replace(".", "-").replace(":", "-")
    return f"{text}0" if text.endswith("-") else text


def _document(kind: Kind[Any, Any], name: str, target: Target, spec: Raw) -> Raw:
    metadata = _said({"name": name, "namespace": target.namespace})
    return {"apiVersion": API_VERSION, "kind": kind.name, "metadata": metadata, "spec": spec}


def _pool_spec(members: Iterable[Member]) -> Raw:
    return {"realServers": [_real_server(one) for one in members]}


def _real_server(one: Member) -> Raw:
    name = f"rs-{_dashed(one.address)}"
    fields = {
        "name": name if one.port is None else f"{name}-{one.port}",
        "address": str(one.address),
        "port": one.port,
        "weight": one.weight,
        "forwarding": None if one.method is None else _forwarding(one.method, one.tunnel),
        "upperThreshold": one.upper_threshold or None,
        "lowerThreshold": one.lower_threshold or None,
    }
    return _said(fields)


def _forwarding(method: ForwardingMethod, tunnel: PlannedTunnel | None) -> Raw:
    if tunnel is None:
        return {"method": method.value}
    checksum = tunnel.checksum.value if tunnel.checksum is not None else None
    wrapped = _said({"type": tunnel.type.value, "port": tunnel.port or None, "checksum": checksum})
    return {"method": method.value, "tunnel": wrapped}


def _service_spec(group: tuple[Front, ...], pool: str, target: Target) -> Raw:
    first, settings = group[0], group[0].settings
    family = first.key.family if isinstance(first.key, MarkKey) else family_of_ip(first.key.address)
    frontend: Raw
    if isinstance(first.key, MarkKey):
        frontend = {"firewallMark": {"value": first.key.mark, "families": [family.value]}}
    else:
        frontend = {"addresses": [str(first.key.address)], "ports": [_port(front) for front in group]}
    return frontend | _said(
        {
            "scheduler": settings.scheduler.value,
            "schedulerFlags": [flag.value for flag in settings.flags] or None,
            "forwarding": {"method": settings.method.value},
            "persistence": None
            if settings.persistence is None
            else _persistence(settings, settings.persistence, family),
            "onePacketScheduling": settings.one_packet_scheduling or None,
            "realServerPoolRef": {"name": pool},
            "directorGroupRef": {"name": target.director_group},
            "paused": target.paused or None,
        }
    )


def _port(front: Front) -> Raw:
    key = front.key
    assert isinstance(key, VirtualServerKey)  # noqa: S101 -- marks have services of their own
    name = f"{key.protocol.lower()}-{key.port}"
    return _said(
        {"name": name, "protocol": key.protocol.value, "port": key.port, "realServerPort": front.real_server_port}
    )


def _persistence(settings: Settings, one: SavedPersistence, family: Family) -> Raw:
    prefix = "ipv4PrefixLength" if family is Family.IPV4 else "ipv6PrefixLength"
    engine = None if settings.engine is None else settings.engine.value
    return _said({"timeoutSeconds": one.timeout_seconds, prefix: one.prefix_length, "engine": engine})


def _said(fields: Raw) -> Raw:
    return {name: value for name, value in fields.items() if value is not None}
