"""Connections as ipvsadm(8) lists them by -L -n -c, digit for digit."""

from ipaddress import ip_address
from typing import Final

from lvs_api.director_table import DirectorConnections, TableConnection
from lvs_cli.ipvsadm_form import endpoint

_HEAD: Final = (
    "IPVS connection entries",
    "pro expire state       source             virtual            destination",
)


def connection_listing(told: DirectorConnections) -> str:
    """One director's, in the kernel's order."""
    return "\n".join([*_HEAD, *map(_line, told.connections)])


def sorted_connections(told: DirectorConnections) -> DirectorConnections:
    """By virtual service, real server and client."""
    return told.model_copy(update={"connections": sorted(told.connections, key=_place)})


def _line(one: TableConnection) -> str:
    minutes, seconds = divmod(one.expires_seconds, 60)
    source = endpoint(one.client_address, one.client_port)
    virtual = endpoint(one.virtual_address, one.virtual_port)
    destination = endpoint(one.address, one.port)
    expires = f"{minutes:02}:{seconds:02}"
    return f"{one.protocol:<3} {expires:<6} {one.state:<11} {source:<18} {virtual:<18} {destination}"


def _place(one: TableConnection) -> tuple[object, ...]:
    virtual, real, client = (
        (len(ip_address(text).packed), ip_address(text).packed, port)
        for text, port in (
            (one.virtual_address, one.virtual_port),
            (one.address, one.port),
            (one.client_address, one.client_port),
        )
    )
    return one.protocol, virtual, real, client
