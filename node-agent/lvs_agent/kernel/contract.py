"""What every IpvsTable must answer alike: the kernel, and the fake that stands in for it.

Each case is a batch, the errors it must bring (by position) and the table after it. `python -m
lvs_agent.kernel.contract` runs them on the kernel of this network namespace, which must have an empty table.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    DeleteDestination,
    DeleteService,
    EditDestination,
    EditService,
    IpvsChange,
    ZeroService,
)
from lvs_agent.decide.kernel_state import (
    NO_TUNNEL_FLAGS,
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    FirewallMarkKey,
    ForwardingMethod,
    KernelIpvs,
    Persistence,
    ServiceFlag,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
    TunnelFlag,
    TunnelSettings,
    TunnelType,
    WantedIpvs,
    WantedService,
)
from lvs_agent.errors import EntryExists, EntryNotFound, EntryRefused, IpvsEntryError, SchedulerNotAvailable
from lvs_agent.kernel.interface import IpvsTable
from lvs_agent.kernel.ipvs import KernelIpvsTable

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A batch on an empty table; `errors` by the position of the change they belong to."""

    name: str
    changes: tuple[IpvsChange, ...]
    errors: Mapping[int, type[IpvsEntryError]] = field(default_factory=dict)
    after: WantedIpvs


def _service(protocol: str, address: str, port: int) -> ServiceKey:
    return ServiceKey(protocol=TransportProtocol[protocol], address=ip_address(address), port=port)


def _destination(address: str, port: int = 80) -> DestinationKey:
    return DestinationKey(address=ip_address(address), port=port)


_WEB, _WEB6 = _service("TCP", "10.0.0.1", 80), _service("TCP", "2001:db8::1", 80)
_ONE, _TWO, _ONE6 = _destination("10.1.0.1"), _destination("10.1.0.2"), _destination("2001:db8:1::1")
_RR = ServiceSettings(scheduler="rr")
_NAT = DestinationSettings(weight=1, method=ForwardingMethod.MASQUERADE)
_DIRECT = DestinationSettings(weight=65535, method=ForwardingMethod.DIRECT_ROUTE)
_TUNNEL = DestinationSettings(weight=0, method=ForwardingMethod.TUNNEL)


def _tunnel(kind: TunnelType, port: int = 0, flags: TunnelFlag = NO_TUNNEL_FLAGS) -> DestinationSettings:
    tunnel = TunnelSettings(type=kind, port=port, flags=flags)
    return DestinationSettings(weight=1, method=ForwardingMethod.TUNNEL, tunnel=tunnel)


def _persistent(scheduler: str, seconds: int, prefix_length: int, engine: str = "") -> ServiceSettings:
    persistence = Persistence(timeout_seconds=seconds, prefix_length=prefix_length)
    return ServiceSettings(scheduler=scheduler, persistence=persistence, persistence_engine=engine)


def _entries(wanted: WantedIpvs) -> tuple[IpvsChange, ...]:
    services = [AddService(service=key, settings=wish.settings) for key, wish in wanted.items()]
    destinations = [
        AddDestination(service=key, destination=destination, settings=settings)
        for key, wish in wanted.items()
        for destination, settings in wish.destinations.items()
    ]
    return (*services, *destinations)


TABLES: Mapping[str, WantedIpvs] = {
    "methods, weights, thresholds": {
        _WEB: WantedService(
            settings=ServiceSettings(scheduler="wrr"),
            destinations={
                _destination("10.1.0.1", 8080): DestinationSettings(
                    weight=3, method=ForwardingMethod.MASQUERADE, upper_threshold=100, lower_threshold=50
                ),
                _TWO: _DIRECT,
                _destination("10.1.0.3"): _TUNNEL,
                _destination("10.1.0.4"): _tunnel(TunnelType.GUE, 6080, TunnelFlag.CHECKSUM),
                _destination("10.1.0.5"): _tunnel(TunnelType.GRE, flags=TunnelFlag.CHECKSUM),
                _ONE6: _tunnel(TunnelType.IPIP),
            },
        )
    },
    "IPv6": {
        _service("UDP", "2001:db8::1", 53): WantedService(
            settings=ServiceSettings(
                scheduler="sh",
                flags=ServiceFlag.ONE_PACKET | ServiceFlag.SCHEDULER_1 | ServiceFlag.SCHEDULER_2,
            ),
            destinations={_destination("2001:db8:1::1", 53): _NAT, _destination("2001:db8:1::2", 53): _TUNNEL},
        ),
        _WEB6: WantedService(settings=_persistent("wlc", 300, 64), destinations={_ONE6: _DIRECT}),
    },
    "persistence": {
        _service("TCP", "10.0.0.2", 0): WantedService(
            settings=_persistent("rr", 120, 32), destinations={_destination("10.1.0.1", 0): _DIRECT}
        ),
        _service("SCTP", "10.0.0.2", 99): WantedService(settings=_persistent("mh", 60, 24)),
        _service("UDP", "10.0.0.2", 5060): WantedService(settings=_persistent("rr", 60, 32, "sip")),
    },
    "marks": {
        FirewallMarkKey(family=AddressFamily.IPV4, mark=10): WantedService(
            settings=_persistent("lblcr", 300, 32), destinations={_destination("10.1.0.1", 0): _DIRECT}
        ),
        FirewallMarkKey(family=AddressFamily.IPV6, mark=10): WantedService(settings=_persistent("fo", 300, 64)),
    },
    "every scheduler": {
        _service("TCP", "10.0.0.3", 80 + index): WantedService(settings=ServiceSettings(scheduler=name))
        for index, name in enumerate(SCHEDULERS)
    },
}

_BASE: WantedIpvs = {_WEB: WantedService(settings=_RR, destinations={_ONE: _NAT})}
_BASE6: WantedIpvs = {_WEB6: WantedService(settings=_RR, destinations={})}


def _one(name: str, change: IpvsChange, error: type[IpvsEntryError] | None = None, base: WantedIpvs = _BASE) -> Case:
    """A base table, and one change to it that is refused; or taken, when the table after it is given elsewhere."""
    entries = _entries(base)
    return Case(name=name, changes=(*entries, change), errors={len(entries): error} if error else {}, after=base)


def _destination_case(name: str, address: str, settings: DestinationSettings = _NAT, base: WantedIpvs = _BASE) -> Case:
    key = next(iter(base))
    return _one(
        name, AddDestination(service=key, destination=_destination(address), settings=settings), EntryRefused, base
    )


def _refusals() -> Iterator[Case]:
    missing = _service("TCP", "10.9.9.9", 80)
    yield _one("service exists", AddService(service=_WEB, settings=_RR), EntryExists)
    yield _one("service to edit is missing", EditService(service=missing, settings=_RR), EntryNotFound)
    yield _one("service to delete is missing", DeleteService(service=missing), EntryNotFound)
    yield _one("name too long", AddService(service=missing, settings=ServiceSettings(scheduler="x" * 16)), EntryRefused)
    for length in (0, 129):
        settings = _persistent("rr", 60, length)
        yield _one(f"IPv6 prefix {length}", AddService(service=_WEB6, settings=settings), EntryRefused)
    unknown = AddService(service=missing, settings=_persistent("rr", 60, 32, "nope"))
    yield _one("unknown persistence engine", unknown, SchedulerNotAvailable)
    unknown_edit = EditService(service=_WEB, settings=ServiceSettings(scheduler="nope"))
    yield _one("unknown scheduler in an edit", unknown_edit, SchedulerNotAvailable)
    yield _one("exists", AddDestination(service=_WEB, destination=_ONE, settings=_NAT), EntryExists)
    yield _one("edited, missing", EditDestination(service=_WEB, destination=_TWO, settings=_NAT), EntryNotFound)
    yield _one("zeroed, missing", ZeroService(service=missing), EntryNotFound)
    yield _one("deleted, missing", DeleteDestination(service=_WEB, destination=_TWO), EntryNotFound)
    yield _one("no such service", AddDestination(service=missing, destination=_TWO, settings=_NAT), EntryNotFound)
    heavy = DestinationSettings(weight=1 << 31, method=ForwardingMethod.MASQUERADE)
    yield _destination_case("weight beyond the kernel's", "10.1.0.2", heavy)
    for upper, lower in ((1, 2), (0, 2), (1 << 31, 1)):
        limits = DestinationSettings(
            weight=1, method=ForwardingMethod.MASQUERADE, upper_threshold=upper, lower_threshold=lower
        )
        yield _destination_case(f"thresholds {upper} {lower}", "10.1.0.2", limits)
    yield _destination_case("GUE without a port", "10.1.0.2", _tunnel(TunnelType.GUE))
    for address in ("224.0.0.1", "255.255.255.255", "0.0.0.0"):  # noqa: S104 (a refused one)
        yield _destination_case(address, address)
    for address in ("ff02::1", "fe80::1", "::", "::ffff:10.0.0.1"):
        yield _destination_case(address, address, base=_BASE6)
    yield _destination_case("IPv6 behind IPv4 by Masquerade", "2001:db8:1::1")
    yield _destination_case("IPv4 behind IPv6 by DirectRoute", "10.1.0.1", _DIRECT, _BASE6)


def _edits() -> Iterator[Case]:
    changed = ServiceSettings(scheduler="wlc")
    edits = (
        *_entries(_BASE),
        EditService(service=_WEB, settings=changed),
        EditDestination(service=_WEB, destination=_ONE, settings=_DIRECT),
        AddDestination(service=_WEB, destination=_TWO, settings=_TUNNEL),
    )
    both = {_ONE: _DIRECT, _TWO: _TUNNEL}
    yield Case(name="edits", changes=edits, after={_WEB: WantedService(settings=changed, destinations=both)})
    yield from _tunnel_edits()
    last = WantedService(settings=changed, destinations={_TWO: _TUNNEL})
    deleted = (*edits, DeleteDestination(service=_WEB, destination=_ONE))
    yield Case(name="destination deleted", changes=deleted, after={_WEB: last})
    yield Case(name="service deleted", changes=(*edits, DeleteService(service=_WEB)), after={})
    yield Case(name="counters zeroed", changes=(*_entries(_BASE), ZeroService(service=_WEB)), after=_BASE)
    sticky = _persistent("rr", 60, 24)
    yield Case(
        name="persistence comes and goes",
        changes=(
            *_entries(_BASE),
            EditService(service=_WEB, settings=sticky),
            EditService(service=_WEB, settings=_RR),
        ),
        after=_BASE,
    )
    refused = AddService(service=_WEB6, settings=ServiceSettings(scheduler="nope"))
    behind = AddDestination(service=_WEB6, destination=_ONE6, settings=_NAT)
    yield Case(
        name="a bad service fails alone, once, and the others are made",
        changes=(refused, behind, *_entries(_BASE)),
        errors={0: SchedulerNotAvailable},
        after=_BASE,
    )


def _tunnel_edits() -> Iterator[Case]:
    """From each way to wrap to the next, also of one family in the other."""
    ways = (
        _tunnel(TunnelType.IPIP),
        _tunnel(TunnelType.GRE),
        _tunnel(TunnelType.GUE, 6080),
        _tunnel(TunnelType.GUE, 6081, TunnelFlag.CHECKSUM),
        _tunnel(TunnelType.GUE, 65535, TunnelFlag.REMOTE_CHECKSUM),
        _tunnel(TunnelType.IPIP),
    )
    for service, server in ((_WEB, _ONE), (_WEB, _ONE6), (_WEB6, _ONE)):
        for before, then in pairwise(ways):
            began = _entries({service: WantedService(settings=_RR, destinations={server: before})})
            yield Case(
                name=f"{before.tunnel} to {then.tunnel}, {server} of {service}",
                changes=(*began, EditDestination(service=service, destination=server, settings=then)),
                after={service: WantedService(settings=_RR, destinations={server: then})},
            )


CASES: tuple[Case, ...] = (
    *(Case(name=name, changes=_entries(table), after=table) for name, table in TABLES.items()),
    *_edits(),
    *_refusals(),
)


def complaint(table: IpvsTable, case: Case) -> str | None:
    """Run one case on an empty table and take it away again; what was not as it should be, or None."""
    applied = table.apply(case.changes)
    position = {id(change): index for index, change in enumerate(case.changes)}  # a change may come twice
    errors = {position[id(failure.change)]: type(failure.error) for failure in applied.failures}
    found = settings_of(table.read())
    table.apply([DeleteService(service=key) for key in found])
    if errors != case.errors:
        return f"errors {errors}, not {dict(case.errors)}"
    if found != case.after:
        return f"the table is {found}, not {case.after}"
    return None if applied.certain else "answers were lost"


def settings_of(table: KernelIpvs) -> dict[AnyServiceKey, WantedService]:
    """A table without counters."""
    return {
        key: WantedService(settings=state.settings, destinations={d: s.settings for d, s in state.destinations.items()})
        for key, state in table.services.items()
    }


def main() -> int:
    """Run every case on the kernel; one JSON object a line."""
    table = KernelIpvsTable()
    if table.read().services:
        _say("start", "the IPVS table is not empty: nothing was done")
        return 2
    complaints = {case.name: complaint(table, case) for case in CASES}
    for name, text in complaints.items():
        _say(name, text)
    return 1 if any(complaints.values()) else 0


def _say(case: str, text: str | None) -> None:
    sys.stdout.write(json.dumps({"case": case, "complaint": text}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
