"""What users want: their objects, and what kernels shall hold by them, said apart from the code under test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lvs_agent.decide.kernel_state import ForwardingMethod
from lvs_api import testing
from simulation.model_api import ModelApi, Raw

NAMESPACE: Final = "default"
GROUP: Final = "default"
DRAIN_SECONDS: Final = 5
SLOTS: Final = {"web": ("192.168.4.15", 80), "tls": ("192.168.4.15", 443), "app": ("192.168.4.16", 8080)}
"""Services that users make: two share an address."""
POOLS: Final = ("one", "two")
DIRECTORS: Final = {"d1": "192.168.4.5", "d2": "192.168.4.6"}
SERVERS: Final = {"s1": "192.168.4.101", "s2": "192.168.4.102", "s3": "192.168.4.103"}
PLAIN: Final = "192.168.4.110"
MEMBERS: Final = (*SERVERS.values(), PLAIN)
METHODS: Final = {
    "DirectRouting": ForwardingMethod.DIRECT_ROUTE,
    "Tunnel": ForwardingMethod.TUNNEL,
    "Masquerade": ForwardingMethod.MASQUERADE,
}
WAYS: Final[Mapping[str, Raw]] = {
    **{method: {"method": method} for method in METHODS},
    **{f"GUE to {port}": {"method": "Tunnel", "tunnel": {"type": "GUE", "port": port}} for port in (6080, 6081)},
}
"""What a service's forwarding may be."""
DEVICES: Final = {ForwardingMethod.DIRECT_ROUTE: "lo", ForwardingMethod.TUNNEL: "tunl0"}
DIRECTOR_LABEL: Final = {"lvs-director": "true"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A kernel service as users want it."""

    scheduler: str
    destinations: Mapping[str, tuple[int, ForwardingMethod]]
    """Weight and method by the real server's address."""


def service(name: str, *, pool: str, way: str, scheduler: str) -> Raw:
    """A LvsVirtualService."""
    address, port = SLOTS[name]
    return testing.virtual_service(
        name,
        addresses=[address],
        ports=[{"name": "main", "protocol": "TCP", "port": port}],
        realServerPoolRef={"name": pool},
        forwarding=WAYS[way],
        scheduler=scheduler,
    )


def pool(name: str, members: Mapping[str, tuple[int, str]], *, checked: bool) -> Raw:
    """A LvsRealServerPool; weight and state by address."""
    servers = [
        testing.real_server(f"rs-{address.rpartition('.')[2]}", address, weight=weight, state=state)
        for address, (weight, state) in sorted(members.items())
    ]
    check = {"tcp": {}, "intervalSeconds": 1, "timeoutSeconds": 1, "rise": 2, "fall": 2} if checked else None
    return testing.real_server_pool(
        name, realServers=servers, drain={"timeoutSeconds": DRAIN_SECONDS}, healthCheck=check
    )


def staying(spec: Mapping[str, Any]) -> Iterator[Raw]:
    """The real servers of a pool's spec that are to take connections."""
    for server in spec.get("realServers") or ():
        if server.get("state", "Active") == "Active":
            yield server


def wanted(service_spec: Mapping[str, Any], pool_spec: Mapping[str, Any]) -> Mapping[tuple[str, int], Wanted]:
    """Kernel services by address and port."""
    method = METHODS[service_spec["forwarding"]["method"]]
    destinations = {server["address"]: (server.get("weight", 1), method) for server in staying(pool_spec)}
    return {
        (address, port["port"]): Wanted(scheduler=service_spec["scheduler"], destinations=destinations)
        for address in service_spec["addresses"]
        for port in service_spec["ports"]
    }


def wanted_ports(api: ModelApi) -> Mapping[str, set[int]]:
    """Ports for GUE by the address of the real server that is to have them open."""
    found: dict[str, set[int]] = {}
    pools = api.objects("lvsrealserverpools")
    for key, raw in api.objects("lvsvirtualservices").items():
        port = raw["spec"]["forwarding"].get("tunnel", {}).get("port")
        for server in staying(pools[key[0], raw["spec"]["realServerPoolRef"]["name"]]["spec"]) if port else ():
            found.setdefault(server["address"], set()).add(port)
    return found


def all_wanted(api: ModelApi) -> Mapping[tuple[str, int], Wanted]:
    """By every user's object; each service's pool is there."""
    found: dict[tuple[str, int], Wanted] = {}
    pools = api.objects("lvsrealserverpools")
    for key, raw in api.objects("lvsvirtualservices").items():
        found |= wanted(raw["spec"], pools[key[0], raw["spec"]["realServerPoolRef"]["name"]]["spec"])
    return found


class Users:
    """Who writes the objects that are not ours to write."""

    def __init__(self, api: ModelApi) -> None:
        self._api = api

    def put(self, raw: Raw) -> None:
        """`kubectl apply`: make, or set the spec. Without an API server nobody wants anything new."""
        plural = _plural(raw)
        if not self._api.up or not self._api.serves(plural):
            return
        key = (raw["metadata"].get("namespace", ""), raw["metadata"]["name"])
        if key in self._api.objects(plural):
            self._api.replace("user", plural, key, "spec", raw["spec"])
        else:
            metadata = {"name": key[1], **({"namespace": key[0]} if key[0] else {})}
            self._api.create("user", plural, {**raw, "metadata": metadata})

    def delete(self, plural: str, name: str) -> None:
        """`kubectl delete`, where it is there."""
        key = (NAMESPACE, name)
        if self._api.up and key in self._api.objects(plural):
            self._api.delete("user", plural, key)

    def delete_namespace(self) -> None:
        """Everything in it goes, in no order that means anything; slices go with it, too."""
        if not self._api.up:
            return
        for plural in ("lvsrealserverpools", "lvsserviceslices", "lvsvirtualservices"):
            for key in list(self._api.objects(plural)):
                self._api.delete("user", plural, key)


def _plural(raw: Raw) -> str:
    return {"LvsVirtualService": "lvsvirtualservices", "LvsRealServerPool": "lvsrealserverpools"}.get(
        raw["kind"], "lvsdirectorgroups"
    )
