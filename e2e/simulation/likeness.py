"""How the world differs from what users want: their objects on one side, kernels and statuses on the other."""

from collections.abc import Iterable, Mapping

from lvs_agent.decide.kernel_state import ServiceKey
from simulation.machines import ARP_ANNOUNCE, ARP_IGNORE, ETH, Machine
from simulation.model_api import ModelApi
from simulation.users import DEVICES, DIRECTORS, SERVERS, Wanted, all_wanted, staying, wanted_ports

Machines = Mapping[str, Machine]


def unlike(api: ModelApi, machines: Machines) -> list[str]:
    """In anything."""
    return [*unlike_but_for_silent_addresses(api, machines), *_unlike_silent_addresses(api, machines)]


def unlike_but_for_silent_addresses(api: ModelApi, machines: Machines) -> list[str]:
    """Real servers that have more than they need, silently, aside."""
    wanted = all_wanted(api)
    found = [line for name in DIRECTORS for line in _unlike_table(machines[name], wanted)]
    found += _unlike_addresses(machines, wanted)
    return [*found, *_unlike_status(api, machines)]


def _unlike_table(machine: Machine, wanted: Mapping[tuple[str, int], Wanted]) -> Iterable[str]:
    table = {
        (str(key.address), key.port): Wanted(
            scheduler=state.settings.scheduler,
            destinations={
                str(one.address): (found.settings.weight, found.settings.method)
                for one, found in state.destinations.items()
            },
        )
        for key, state in machine.ipvs.services.items()
        if isinstance(key, ServiceKey) and key not in machine.foreign
    }
    for key in machine.foreign - machine.ipvs.services.keys():
        yield f"{machine.name} has lost {key}, which is somebody else's"
    for key in wanted.keys() | table.keys():
        if table.get(key) != wanted.get(key):
            yield f"{machine.name} has {table.get(key)} for {key}, wanted is {wanted.get(key)}"


def _unlike_addresses(machines: Machines, wanted: Mapping[tuple[str, int], Wanted]) -> Iterable[str]:
    vips = {address for address, _ in wanted}
    held = [{str(one.address) for one in machines[name].bindings() if one.device == ETH} for name in DIRECTORS]
    if sorted(held, key=len) != [set(), vips]:
        yield f"directors carry {held}, wanted is {vips}"


def _unlike_silent_addresses(api: ModelApi, machines: Machines) -> Iterable[str]:
    wanted = all_wanted(api)
    silent: dict[str, set[tuple[str, str]]] = {name: set() for name in SERVERS}
    for (address, _), service_wanted in wanted.items():
        for name, own in SERVERS.items():
            _, method = service_wanted.destinations.get(own, (0, None))
            if method in DEVICES:
                silent[name].add((address, DEVICES[method]))
    for name, bindings in silent.items():
        machine = machines[name]
        found = {(str(one.address), one.device) for one in machine.bindings()}
        if found != bindings:
            yield f"{name} carries {found}, wanted is {bindings}"
        ports = wanted_ports(api).get(SERVERS[name], set())
        if machine.gue_ports != ports:
            yield f"{name} has the ports {machine.gue_ports} open, wanted are {ports}"
        values = (machine.sysctls.values[ARP_IGNORE], machine.sysctls.values[ARP_ANNOUNCE])
        if values != ((1, 2) if bindings else (0, 0)):
            yield f"{name} has arp_ignore and arp_announce {values} with {bindings}"


def _unlike_status(api: ModelApi, machines: Machines) -> Iterable[str]:
    pools = api.objects("lvsrealserverpools")
    for (namespace, name), raw in api.objects("lvsvirtualservices").items():
        said = {one["type"]: one for one in raw.get("status", {}).get("conditions", ())}
        named = pools[namespace, raw["spec"]["realServerPoolRef"]["name"]]["spec"]
        has_weight = any(server.get("weight", 1) for server in staying(named))
        for condition in ("Accepted", "ResolvedRefs", "Programmed", *(["Ready"] if has_weight else [])):
            one = said.get(condition, {})
            if one.get("status") != "True" or one.get("observedGeneration") != raw["metadata"]["generation"]:
                yield f"{name} says {condition}={one}"
    for name in {**DIRECTORS, **SERVERS}:
        status = api.objects("lvsnodes").get(("", name), {}).get("status")
        if status and status["bootId"] != machines[name].boot_id:
            yield f"LvsNode {name} speaks of {status['bootId']}"
