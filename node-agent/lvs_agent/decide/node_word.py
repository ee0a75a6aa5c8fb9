"""A node agent's word: the VIPs that its node carries and keeps silent about at this moment, as told to who asks.

It is `LvsNode.status` for directors that cannot read that: `{"bootID": …, "ageMilliseconds": …, "addresses":
[{"address": …, "device": …, "guePorts": […]}]}`, with the ports that are open, where there are some. What is read comes
from another machine and is believed only as far as it is well formed.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from lvs_agent.decide.kernel_state import IPAddress
from lvs_api.bind_device import MAX_GUE_PORTS, MAX_NODE_ADDRESSES, BindDevice

WORD_PATH: Final = "/v1/prepared"
MAX_WORD: Final = 256 * 1024
"""Bytes: over MAX_NODE_ADDRESSES of the longest addresses, each with MAX_GUE_PORTS."""
MAX_AGE_MILLISECONDS: Final = 5000
"""An agent looks at its kernel about once a second; what is older than this may no longer be so."""
_MAX_BOOT_ID: Final = 64
_HIGHEST_PORT: Final = 65535


class Carried(NamedTuple):
    """A VIP on the device of a real-server node that can carry it unasked."""

    address: IPAddress
    device: BindDevice
    port: int = 0
    """Open for GUE, by which packets come to the device; 0: for those that come to it as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWord:
    """What one agent says of its node."""

    boot_id: str
    carried: frozenset[Carried]
    """Bound, and this node does not answer ARP for them."""
    age_milliseconds: int
    """Since the agent looked at its kernel."""


def encode_word(word: NodeWord) -> bytes:
    """The word as JSON."""
    addresses = [
        {"address": address, "device": device} | ({"guePorts": ports} if ports else {})
        for address, device, ports in carried_rows(word.carried)
    ]
    said = {"bootID": word.boot_id, "ageMilliseconds": word.age_milliseconds, "addresses": addresses}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def decode_word(body: bytes) -> NodeWord:
    """A word out of what somebody answered. Raises ValueError, which says in a few words what is wrong with it."""
    if len(body) > MAX_WORD:
        raise ValueError(f"an answer over {MAX_WORD} bytes")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("an answer that is not JSON") from error
    match said:
        case {"bootID": str(boot_id), "ageMilliseconds": int(age), "addresses": list(addresses)} if (
            0 < len(boot_id) <= _MAX_BOOT_ID
            and age >= 0
            and not isinstance(age, bool)
            and len(addresses) <= MAX_NODE_ADDRESSES
        ):
            carried = frozenset(one for raw in addresses for one in _carried(raw))
            return NodeWord(boot_id=boot_id, carried=carried, age_milliseconds=age)
    raise ValueError("an answer that names no boot, age and addresses")


def carried_rows(carried: Iterable[Carried]) -> list[tuple[str, str, list[int]]]:
    """Each address and device once, with its ports; sorted."""
    rows: dict[tuple[str, str], set[int]] = {}
    for one in carried:
        rows.setdefault((str(one.address), one.device.value), set()).add(one.port)
    return [(address, device, sorted(ports - {0})) for (address, device), ports in sorted(rows.items())]


def carried_of(address: str, device: str, ports: Iterable[int]) -> Iterator[Carried]:
    """What such a row says. Raises ValueError."""
    for port in (0, *ports):
        yield Carried(ip_address(address), BindDevice(device), port)


def _is_port(raw: object) -> bool:
    return isinstance(raw, int) and 0 < raw <= _HIGHEST_PORT and not isinstance(raw, bool)


def _carried(raw: Any) -> list[Carried]:  # noqa: ANN401 -- JSON
    match raw:
        case {"address": str(address), "device": str(device)} if "%" not in address:  # a scope has no bound
            ports = raw.get("guePorts", [])
            if not (isinstance(ports, list) and len(ports) <= MAX_GUE_PORTS and all(map(_is_port, ports))):
                raise ValueError("an answer with ports that are none")
            try:
                return list(carried_of(address, device, ports))
            except ValueError as error:
                raise ValueError("an answer with an address or a device that is none") from error
    raise ValueError("an answer with something else than addresses")
