"""The explicit verb: take from this node everything that the ledger of this boot says the agent made, nothing else."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lvs_agent.converge.number_seams import NumberSeams
from lvs_agent.decide.changes import DeleteDestination, DeleteService, IpvsChange, UnbindAddress
from lvs_agent.decide.handed_on import HANDED_ON_SERVICES
from lvs_agent.decide.kernel_state import KernelIpvs, KernelLinks, LocalDelivery, ReceivePort
from lvs_agent.decide.ownership import OwnedIpvs, judge_ipvs, judge_links
from lvs_agent.decide.packet_table import NO_RULES
from lvs_agent.decide.wanted_sysctls import SysctlRole, judge_sysctls, keys_to_read
from lvs_agent.disk.ledger import Ledger, LedgerFile
from lvs_agent.errors import (
    IpvsUnavailable,
    KernelError,
    NftMissing,
    PacketFilterError,
    StateFileDamaged,
    StateNotWritten,
)
from lvs_agent.kernel.interface import (
    DeliveryRoutes,
    HostRoutes,
    IpvsSettings,
    IpvsTable,
    Links,
    PacketFilter,
    ReceivePorts,
    Sysctls,
)
from lvs_agent.vrrp.shared_directory import VrrpDirectory

_log = logging.getLogger(__name__)


async def clean_up(
    ledger_file: LedgerFile,
    copies: Sequence[Path],
    *,
    ipvs: IpvsTable,
    links: Links,
    host_routes: HostRoutes,
    delivery: DeliveryRoutes,
    packet_filter: PacketFilter,
    receive_ports: ReceivePorts,
    settings: IpvsSettings,
    sysctls: Sysctls,
    vrrp: VrrpDirectory,
) -> tuple[str, ...]:
    """The way down: addresses, ports for GUE, local delivery, IPVS entries, packet filter rules, settings, sysctls.

    Returns what could not be removed.

    What is left stays in the ledger, so that it can be tried again; the copies of what the API server said go, so that
    nothing brings all of it back at the next start. No removal waits for a disk that takes nothing.

    Raises StateFileDamaged, with nothing done.
    """
    ledger = ledger_file.read()
    problems: list[str] = []
    for copy in copies:
        try:
            await asyncio.to_thread(copy.unlink, missing_ok=True)
        except OSError as error:
            problems.append(f"{copy}: {error.strerror}")

    problems += await _end_vrrp(vrrp, links)
    ledger, refused = await _unbind(links, ledger)
    problems += [*refused, *_store(ledger_file, ledger)]
    ledger, refused = _close_ports(receive_ports, ledger)
    problems += [*refused, *_store(ledger_file, ledger)]
    problems += await _end_delivery(delivery)
    if ledger.ipvs:
        ledger, refused = _remove_entries(ipvs, ledger)
        problems += [*refused, *_store(ledger_file, ledger)]

    problems += await _remove_packet_rules(packet_filter)
    ledger = _stop_daemons(settings, ledger)
    ledger, refused = _put_back(NumberSeams(settings, sysctls), ledger)
    problems += [*refused, *_store(ledger_file, ledger)]

    for route in await host_routes.read():
        await host_routes.remove(route)
        _log.info("removed the route to %s", route.address)

    problems += _restore_sysctls(sysctls, await links.read(fresh=True), ledger)
    problems += _store(ledger_file, replace(ledger, sysctls=ledger.sysctls if problems else {}))
    return tuple(dict.fromkeys(problems))


async def _unbind(links: Links, ledger: Ledger) -> tuple[Ledger, list[str]]:
    """The ledger with the addresses that stay, and why."""
    bound = judge_links(await links.read(fresh=True), frozenset(), ledger.bindings).owned
    failed = await links.apply([UnbindAddress(binding=binding) for binding in bound])
    _log.info("unbound %d addresses", len(bound) - len(failed))
    left = frozenset(failure.change.binding for failure in failed)
    return replace(ledger, bindings=left), [str(failure.error) for failure in failed]


def _remove_entries(ipvs: IpvsTable, ledger: Ledger) -> tuple[Ledger, list[str]]:
    """The ledger with the entries of the table that stay, and why."""
    applied = ipvs.apply(deletions(ipvs.read(), ledger.ipvs))
    _log.info("removed %d IPVS entries", applied.written)
    left = judge_ipvs(ipvs.read(), {}, ledger.ipvs).owned
    return replace(ledger, ipvs=left, drains={}), [str(failure.error) for failure in applied.failures]


def _restore_sysctls(sysctls: Sysctls, links: KernelLinks, ledger: Ledger) -> list[str]:
    """Back to the values from before our first write, where nobody else relies on ours; what could not be written."""
    role, problems = SysctlRole(), []
    found = sysctls.read(keys_to_read(role, links, ledger.sysctls))
    verdict = judge_sysctls(role, links, found, ledger.sysctls)
    for key in verdict.left:
        _log.info("%s stays %d: others rely on it by now", key, found[key])
    for write in verdict.restores:
        try:
            sysctls.write(write.key, write.value)
        except KernelError as error:
            problems.append(str(error))
        else:
            _log.info("%s: %d -> %d", write.key, write.previous, write.value)
    return problems


def _close_ports(ports: ReceivePorts, ledger: Ledger) -> tuple[Ledger, list[str]]:
    """The ledger with what could not be closed, and why."""
    left: dict[ReceivePort, str] = {}
    for port in sorted(ledger.ports):
        try:
            ports.close_port(port)
        except KernelError as error:
            left[port] = str(error)
        else:
            _log.info("closed %s", port)
    return replace(ledger, ports=frozenset(left)), list(left.values())


async def _end_delivery(delivery: DeliveryRoutes) -> list[str]:
    try:
        if await delivery.read() != LocalDelivery():
            await delivery.replace(())
            _log.info("removed our rules of local delivery")
    except KernelError as error:
        return [str(error)]
    return []


async def _end_vrrp(vrrp: VrrpDirectory, links: Links) -> list[str]:
    """What a VRRP daemon that is no more has left on devices; while one runs, its addresses are its own."""
    if vrrp.has_supervisor():
        return [f"{vrrp.path}: lvs-agent vrrp runs: stop it first, by which it hands its addresses over"]
    try:
        left = vrrp.read_bound() & (await links.read(fresh=True)).bindings()
        failed = await links.apply([UnbindAddress(binding=binding) for binding in left])
        if not failed:
            vrrp.clear()
    except StateFileDamaged as error:
        return [str(error)]
    if left:
        _log.info("unbound %d addresses that keepalived left", len(left) - len(failed))
    return [str(failure.error) for failure in failed]


def _stop_daemons(settings: IpvsSettings, ledger: Ledger) -> Ledger:
    """Our sync daemons end; one that somebody else has started in another way since is theirs."""
    if not ledger.daemons:
        return ledger
    try:
        found = settings.read_daemons()
    except IpvsUnavailable:
        found = {}
    for state, daemon in ledger.daemons.items():
        if state in found and daemon.is_met_by(found[state]):
            settings.stop_daemon(state)
            _log.info("stopped the sync daemon %s", state.name.lower())
    return replace(ledger, daemons={})


def _put_back(kernel: NumberSeams, ledger: Ledger) -> tuple[Ledger, list[str]]:
    """What IPVS has once, as it was before; the ledger with what is left, and why."""
    if not ledger.settings:
        return ledger, []
    try:
        found = kernel.read(ledger.settings.keys())
    except IpvsUnavailable:  # and what it had went with it
        return replace(ledger, settings={}), []
    changed = {key: value for key, value in ledger.settings.items() if found.get(key, value) != value}
    refused = kernel.write(changed)
    for key in changed.keys() - refused.keys():
        _log.info("%s: %d -> %d", key, found[key], changed[key])
    return replace(ledger, settings={key: ledger.settings[key] for key in refused}), list(refused.values())


async def _remove_packet_rules(packet_filter: PacketFilter) -> list[str]:
    try:
        if await _has_table(packet_filter):
            await packet_filter.replace(NO_RULES)
            _log.info("removed our table of the packet filter")
    except NftMissing:
        return []
    except KernelError as error:
        return [str(error)]
    return []


async def _has_table(packet_filter: PacketFilter) -> bool:
    """One that can not be read, for a later version made it, say, may be there: it is ours by its name all the same."""
    try:
        return await packet_filter.read() is not None
    except PacketFilterError:
        return True


def _store(ledger_file: LedgerFile, ledger: Ledger) -> list[str]:
    """Store what is still ours; why that failed. The old ledger names more than there is, which harms nobody."""
    try:
        ledger_file.write(ledger)
    except StateNotWritten as error:
        return [str(error)]
    return []


def deletions(table: KernelIpvs, owned: OwnedIpvs) -> list[IpvsChange]:
    """Our services with all that is in them; of one that also holds foreign destinations only ours.

    What takes what other directors hand on goes last: the other services would balance that again.
    """
    changes: list[IpvsChange] = []
    for key, state in sorted(table.services.items(), key=lambda item: item[0] in HANDED_ON_SERVICES):
        if key not in owned:
            continue
        foreign = state.destinations.keys() - owned[key]
        if foreign:
            changes += [
                DeleteDestination(service=key, destination=destination)
                for destination in state.destinations
                if destination in owned[key]
            ]
        else:
            changes.append(DeleteService(service=key))
    return changes
