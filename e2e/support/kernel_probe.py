"""What runs inside a guest to try the agent's kernel seams there; it arrives on Python's standard input.

Each verb prints one JSON value.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lvs_agent.decide.changes import (
    AddDestination,
    AddService,
    BindAddress,
    DeleteService,
    EditDestination,
    EditService,
    UnbindAddress,
)
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AddressFamily,
    DestinationKey,
    DestinationSettings,
    ForwardingMethod,
    KernelLinks,
    ReceivePort,
    ServiceKey,
    ServiceSettings,
    TransportProtocol,
)
from lvs_agent.decide.named_table import name_entries
from lvs_agent.decide.packet_table import MarkRule, PacketRules, SourceNatRule
from lvs_agent.decide.told_table import TableFacts, tell_table
from lvs_agent.decide.wanted_sysctls import SysctlRole, judge_sysctls, keys_to_read
from lvs_agent.errors import KernelError
from lvs_agent.kernel.announce import PacketAnnouncer
from lvs_agent.kernel.contract import CASES, TABLES, complaint, settings_of
from lvs_agent.kernel.ftp_helper import ModuleFtpHelper
from lvs_agent.kernel.ftp_helper_contract import complaint as helper_complaint
from lvs_agent.kernel.glance_contract import complaints as glance_complaints
from lvs_agent.kernel.ipvs import KernelIpvsTable
from lvs_agent.kernel.ipvs_settings import KernelIpvsSettings
from lvs_agent.kernel.nft import NftPacketFilter
from lvs_agent.kernel.packet_filter_contract import complaints as packet_filter_complaints
from lvs_agent.kernel.receive_ports import KernelReceivePorts
from lvs_agent.kernel.receive_ports_contract import bound_socket
from lvs_agent.kernel.receive_ports_contract import complaints as receive_ports_complaints
from lvs_agent.kernel.settings_contract import (
    DAEMON_CASES,
    TIMEOUT_CASES,
    daemon_complaint,
    sysctl_complaints,
    timeout_complaint,
)
from lvs_agent.kernel.sysctl import ProcSysctls
from lvs_agent.kernel.testing import NetworkNamespace
from lvs_agent.kernel.wire_contract import DEVICE, record_conversation


def service(text: str) -> ServiceKey:
    """TCP 1.2.3.4:80 out of "1.2.3.4 80"."""
    address, port = text.split()
    return ServiceKey(protocol=TransportProtocol.TCP, address=ip_address(address), port=int(port))


def destination(text: str) -> DestinationKey:
    address, port = text.split()
    return DestinationKey(address=ip_address(address), port=int(port))


def contract() -> dict[str, str | None]:
    """Every case of the contract on this kernel."""
    table = KernelIpvsTable()
    if table.read().services:
        raise SystemExit("the IPVS table is not empty")
    return {case.name: complaint(table, case) for case in CASES}


def glance_contract() -> dict[str, str]:
    """What a glance at the table misses, or sees without a reason."""
    return glance_complaints(KernelIpvsTable())


def settings_contract() -> dict[str, str | None]:
    """Every case about what IPVS has once, on this kernel."""
    settings = KernelIpvsSettings()
    complaints = {case.name: timeout_complaint(settings, case) for case in TIMEOUT_CASES}
    return complaints | {case.name: daemon_complaint(settings, case) for case in DAEMON_CASES}


def conversation() -> dict[str, Any]:
    """Every command and every kind of object, as bytes there and back, in a namespace of its own."""
    namespace = NetworkNamespace("wire")
    namespace.create()
    try:
        namespace.ip("link", "add", DEVICE, "type", "dummy")
        namespace.ip("link", "set", DEVICE, "up")
        namespace.ip("address", "add", "192.0.2.1/24", "dev", DEVICE)
        namespace.ip("address", "add", "2001:db8::1/64", "dev", DEVICE, "nodad")
        return namespace.run(record_conversation)
    finally:
        namespace.delete()


def sysctl_contract() -> dict[str, str | None]:
    """Every sysctl of the API, at its bounds."""
    KernelIpvsSettings().read_timeouts()  # which loads ip_vs
    return dict(sysctl_complaints(ProcSysctls()))


def packet_filter_contract() -> dict[str, str | None]:
    """Every case of the contract for our table of the packet filter; there must be none before."""
    return asyncio.run(packet_filter_complaints(NftPacketFilter))


def receive_ports_contract() -> dict[str, str | None]:
    """Every case of the contract for ports of GUE; there must be none before."""
    return receive_ports_complaints(KernelReceivePorts(), bound_socket)


def receive_port(verb: str, family: str, port: str) -> list[str]:
    """Open or close a port for GUE, and what there is then; or why not."""
    ports, one = KernelReceivePorts(), ReceivePort(AddressFamily[family], int(port))
    try:
        (ports.open if verb == "open" else ports.close_port)(one)
    except KernelError as error:
        return [str(error)]
    return sorted(map(str, ports.read()))


def mark(address: str, port: str, number: str) -> bool:
    """Mark packets to an address and port, and no others."""
    rule = MarkRule(ip_address(address), TransportProtocol.TCP, int(port), int(number))
    asyncio.run(NftPacketFilter().replace(PacketRules(marks=frozenset({rule}))))
    return True


def ftp_helper_contract() -> list[str | None]:
    """What the kernel says, and what its table has afterwards."""
    table = KernelIpvsTable()
    found = helper_complaint(ModuleFtpHelper(table))
    return [found, *(str(key) for key in table.read().services)]


def source_nat(address: str, port: str, server: str, server_port: str) -> bool:
    """Rewrite the source of what IPVS sends from an address and port to a real server, and nothing else."""
    one, other = ip_address(address), ip_address(server)
    rule = SourceNatRule(one, TransportProtocol.TCP, int(port), other, int(server_port))
    asyncio.run(NftPacketFilter().replace(PacketRules(source_nat=frozenset({rule}))))
    return True


def packet_filter() -> list[Any] | None:
    """Our table: whether it is whole, and how many rules it has; None: there is none."""
    table = asyncio.run(NftPacketFilter().read())
    return None if table is None else [table.is_whole, len(table.rules)]


def load(name: str) -> bool:
    """Put one of the contract's tables into the kernel, and leave it there."""
    table = KernelIpvsTable()
    changes: list[AddService | AddDestination] = []
    for key, wish in TABLES[name].items():
        changes.append(AddService(service=key, settings=wish.settings))
        changes += [
            AddDestination(service=key, destination=one, settings=settings)
            for one, settings in wish.destinations.items()
        ]
    return table.apply(changes).failures == ()


def holds(name: str) -> bool:
    """Whether the kernel holds exactly that table."""
    return settings_of(KernelIpvsTable().read()) == TABLES[name]


def add(vip: str, real_server: str, method: str) -> bool:
    """A service of one real server."""
    settings = DestinationSettings(weight=1, method=ForwardingMethod[method])
    applied = KernelIpvsTable().apply(
        [
            AddService(service=service(vip), settings=ServiceSettings(scheduler="rr")),
            AddDestination(service=service(vip), destination=destination(real_server), settings=settings),
        ]
    )
    return applied.failures == ()


def edit(vip: str, real_server: str, method: str, weight: str, scheduler: str) -> bool:
    """Change all of it in place."""
    settings = DestinationSettings(weight=int(weight), method=ForwardingMethod[method])
    applied = KernelIpvsTable().apply(
        [
            EditService(service=service(vip), settings=ServiceSettings(scheduler=scheduler)),
            EditDestination(service=service(vip), destination=destination(real_server), settings=settings),
        ]
    )
    return applied.failures == ()


def counters(vip: str, real_server: str) -> dict[str, int]:
    """Connections and traffic of a real server; and the connections that its service counts."""
    table = KernelIpvsTable()
    state = table.read().services[service(vip)].destinations[destination(real_server)]
    connections = {"active": state.active_connections, "inactive": state.inactive_connections}
    return {**connections, **state.counters._asdict(), "of_service": table.read_counters()[service(vip)].connections}


def told() -> Any:  # noqa: ANN401 (JSON)
    """The table and what holds for all of it, as an agent would tell it."""
    table, settings = KernelIpvsTable(), KernelIpvsSettings()
    kernel = table.read()
    facts = TableFacts(
        node="director",
        info=table.info(),
        timeouts=settings.read_timeouts(),
        daemons=settings.read_daemons(),
        wide_counters=kernel.wide_counters,
    )
    return tell_table(name_entries(kernel, None), facts).model_dump(mode="json", by_alias=True, exclude_none=True)


def read_under_change(rounds: str) -> dict[str, int]:
    """Read while another thread makes and deletes services; what stays must be whole in every read."""
    steady = service("10.9.0.1 80")
    members = [destination(f"10.9.1.{n} 80") for n in range(1, 201)]
    weight = DestinationSettings(weight=1, method=ForwardingMethod.DIRECT_ROUTE)
    rr = ServiceSettings(scheduler="rr")
    table, stop, flips = KernelIpvsTable(), threading.Event(), [0]
    entries = [AddDestination(service=steady, destination=one, settings=weight) for one in members]
    table.apply([AddService(service=steady, settings=rr), *entries])

    def churn() -> None:
        other = KernelIpvsTable()
        passing = service("10.9.0.2 80")
        while not stop.is_set():
            entries = [AddDestination(service=passing, destination=one, settings=weight) for one in members[:40]]
            other.apply([AddService(service=passing, settings=rr), *entries])
            other.apply([DeleteService(service=passing)])
            flips[0] += 1

    thread = threading.Thread(target=churn)
    thread.start()
    broken = 0
    try:
        for _ in range(int(rounds)):
            found = table.read().services
            broken += list(found[steady].destinations) != members and set(found[steady].destinations) != set(members)
    finally:
        stop.set()
        thread.join()
    table.apply([DeleteService(service=steady)])
    return {"broken": broken, "flips": flips[0]}


def read_while_resized(rounds: str) -> dict[str, int]:
    """Read 1,000 services while the kernel resizes its table again and again.

    How many readings saw fewer; and how many bare dumps did, which shows that there was something to see.
    """
    load_factor = Path("/proc/sys/net/ipv4/vs/svc_lfactor")
    keys = [service(f"10.9.{n // 250}.{n % 250} 80") for n in range(1000)]
    table, bare, stop = KernelIpvsTable(), KernelIpvsTable(), threading.Event()
    table.apply([AddService(service=key, settings=ServiceSettings(scheduler="rr")) for key in keys])

    def resize() -> None:
        while not stop.is_set():
            for factor in ("2", "-4"):
                load_factor.write_text(factor, encoding="ascii")
                stop.wait(0.02)

    thread = threading.Thread(target=resize)
    thread.start()
    found = {"short": 0, "short_first_reads": 0, "short_dumps": 0}
    try:
        for _ in range(int(rounds)):
            found["short_dumps"] += len(bare._dump_services()[0]) < len(keys)  # noqa: SLF001 (what it would be without)
            found["short"] += len(table.read_services()) < len(keys)
            found["short_first_reads"] += len(KernelIpvsTable().read_services()) < len(keys)
    finally:
        stop.set()
        thread.join()
    table.apply([DeleteService(service=key) for key in keys])
    return found


def unavailable() -> str:
    """What is said when the kernel has no IPVS."""
    try:
        KernelIpvsTable().read()
    except KernelError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def bind(address: str, device: str) -> list[str]:
    """Bind an address; errors as text."""
    return asyncio.run(_change_links(BindAddress, address, device))


def unbind(address: str, device: str) -> list[str]:
    """Unbind an address; errors as text."""
    return asyncio.run(_change_links(UnbindAddress, address, device))


async def _change_links(kind: type[BindAddress | UnbindAddress], address: str, device: str) -> list[str]:
    from lvs_agent.kernel.links import KernelLinksSeam  # noqa: PLC0415 (slow to import, and seldom wanted)

    links = KernelLinksSeam()
    binding = AddressBinding(address=ip_address(address), device=device)
    failures = await links.apply([kind(binding=binding)])
    await links.close()
    return [str(failure.error) for failure in failures]


def silence(tunnel_devices: str) -> dict[str, int]:
    """Make the node silent, and its tunnel devices loose; what was written."""
    devices = frozenset(tunnel_devices.split())
    role = SysctlRole(silent=True, tunnel_devices=devices)
    links, sysctls = asyncio.run(_links()), ProcSysctls()
    written: dict[str, int] = {}
    verdict = judge_sysctls(role, links, sysctls.read(keys_to_read(role, links, {})), {})
    for write in verdict.writes:
        sysctls.write(write.key, write.value)
        written[str(write.key)] = write.value
    return written


async def _links() -> KernelLinks:
    from lvs_agent.kernel.links import KernelLinksSeam  # noqa: PLC0415 (slow to import, and seldom wanted)

    links = KernelLinksSeam()
    found = await links.read()
    await links.close()
    return found


def announce(device: str, address: str) -> bool:
    """Announce an address once."""
    PacketAnnouncer().announce(device, ip_address(address))
    return True


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb
    for verb in (
        contract, glance_contract, settings_contract, conversation, sysctl_contract, packet_filter_contract,
        ftp_helper_contract, receive_ports_contract, receive_port,
        mark, source_nat, packet_filter, load, holds, add, edit, counters, told,
        read_under_change, read_while_resized, unavailable, bind, unbind, silence, announce,
    )
}  # fmt: skip

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](*sys.argv[2:])))
