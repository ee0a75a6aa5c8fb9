"""The lab of two directors that are broken in every way: its names, its objects, and it with everything running."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from lvs_lab.waiting import wait_for
from support.chosen_agents import advert_milliseconds, deployed_as_chosen
from support.deployment import Deployment
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.neighbours import mac_of, wait_for_neighbour
from support.steady_load import plain_real_servers
from support.traffic import answers

NAME: Final = "faults"
"""Of the group, the pool and the service."""
DIRECTORS: Final = ("ff-one", "ff-two")
SERVERS: Final = {"ff-server-1": "192.168.67.11", "ff-server-2": "192.168.67.12"}
VIP: Final = "192.168.67.127"
ROUTER_ID: Final = 67
SERVICE: Final = f"TCP {VIP}:80"
_OBJECTS: Final = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: faults}
spec:
  nodes: {selector: {matchLabels: {lvs-operator.io/director-group: faults}}}
  failover: VRRP
  vrrp:
    advertIntervalMilliseconds: %(interval)d
    virtualRouterIds: [67]
    priorities: [{node: ff-one, priority: 150}, {node: ff-two, priority: 100}]
%(sysctls)s---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: faults}
spec:
  realServers: [{name: one, address: 192.168.67.11}, {name: two, address: 192.168.67.12}]
  healthCheck: {intervalSeconds: 1, timeoutSeconds: 1, rise: 1, fall: 3, tcp: {}}
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: faults}
spec:
  addresses: ["192.168.67.127"]
  ports: [{name: http, protocol: TCP, port: 80}]
  scheduler: %(scheduler)s
  forwarding: {method: DirectRouting}
  realServerPoolRef: {name: faults}
  directorGroupRef: {name: faults}
"""


def fault_objects(interval_milliseconds: int, *, scheduler: str = "rr", sloppy_tcp: bool = False) -> str:
    """The group, its pool and its service, as YAML."""
    sysctls = "  sysctls: {sloppyTcp: true}\n" if sloppy_tcp else ""
    return _OBJECTS % {"interval": interval_milliseconds, "scheduler": scheduler, "sysctls": sysctls}


@contextmanager
def fault_lab(label: str, directory: Path) -> Iterator[DirectorPair]:
    """The lab for as long as the context lasts; the service is not Ready yet."""
    with (
        deployed_as_chosen(label, ["failover-faults"], directory) as deployment,
        plain_real_servers(deployment.lab, VIP, *SERVERS),
    ):
        for name in DIRECTORS:
            deployment.start_vrrp(name)
        deployment.apply(fault_objects(advert_milliseconds()))
        yield DirectorPair(
            deployment=deployment, names=DIRECTORS, client_name="ff-client", vip=VIP, router_id=ROUTER_ID
        )


def wait_whole(pair: DirectorPair) -> None:
    """Have both directors up, that of the higher priority Master, and all real servers in use."""
    deployment: Deployment = pair.deployment
    deployment.ensure_running()
    deployment.wait_ready(NAME)
    pair.make_master(DIRECTORS[0])
    for name in DIRECTORS:
        for address in SERVERS.values():
            deployment.wait_weight(name, SERVICE, f"{address}:80", 1, deadline=TAKE_OVER_SECONDS)


def wait_relieved(pair: DirectorPair, name: str) -> None:
    """Wait until this director carries the address, for the client on the link and for the one behind the router."""
    pair.wait_master(name)
    lab = pair.deployment.lab
    mac = mac_of(lab.guest(name))
    wait_for_neighbour(lab.machine("ff-router"), VIP, mac, deadline=TAKE_OVER_SECONDS)
    wait_for(lambda: answers(lab.machine("ff-far-client"), VIP), TAKE_OVER_SECONDS, f"{VIP} to answer from afar")


def must_be_settled(pair: DirectorPair, master: str) -> None:
    """Both say what they do, and nothing else happens."""
    pair.wait_settled(master)
    pair.must_stay(master)


def api_server(pair: DirectorPair, where: str) -> AbstractContextManager[None]:
    """The API server is `there` or `away` for as long as the context lasts."""
    return _api_server_away(pair) if where == "away" else nullcontext()


@contextmanager
def _api_server_away(pair: DirectorPair) -> Iterator[None]:
    pair.deployment.lab.control_plane.pause()
    try:
        yield
    finally:
        pair.deployment.lab.control_plane.resume()


@contextmanager
def deaf_to_adverts(pair: DirectorPair, name: str) -> Iterator[None]:
    """Drop what comes in of VRRP, in a table of the packet filter that is nobody's."""
    guest = pair.deployment.lab.guest(name)
    guest.sh(
        "nft add table ip fault && nft 'add chain ip fault heard { type filter hook input priority -300; }'"
        " && nft add rule ip fault heard ip protocol 112 drop"
    )
    try:
        yield
    finally:
        guest.out("nft", "delete", "table", "ip", "fault")
