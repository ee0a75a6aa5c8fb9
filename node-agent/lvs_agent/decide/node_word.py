"""A node agent's word: the VIPs that its node carries and keeps silent about at this moment, as told to who asks.

It is `LvsNode.status` for directors that cannot read that: `{"bootID": …, "ageMilliseconds": …, "addresses":
[{"address": …, "device": …}]}`. What is read comes from another machine and is believed only as far as it is well
formed.
"""

import json
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from lvs_agent.decide.kernel_state import IPAddress
from lvs_api.lvs_node import MAX_NODE_ADDRESSES, BindDevice

WORD_PATH: Final = "/v1/prepared"
MAX_WORD: Final = 128 * 1024
"""Bytes: over MAX_NODE_ADDRESSES of the longest addresses."""
MAX_AGE_MILLISECONDS: Final = 5000
"""An agent looks at its kernel about once a second; what is older than this may no longer be so."""
_MAX_BOOT_ID: Final = 64


class Carried(NamedTuple):
    """A VIP on the device of a real-server node that can carry it unasked."""

    address: IPAddress
    device: BindDevice


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
        {"address": str(one.address), "device": one.device.value}
        for one in sorted(word.carried, key=lambda one: (str(one.address), one.device))
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
            return NodeWord(boot_id=boot_id, carried=frozenset(map(_carried, addresses)), age_milliseconds=age)
    raise ValueError("an answer that names no boot, age and addresses")


def _carried(raw: Any) -> Carried:  # noqa: ANN401 -- JSON
    match raw:
        case {"address": str(address), "device": str(device)} if "%" not in address:  # a scope has no bound
            try:
                return Carried(ip_address(address), BindDevice(device))
            except ValueError as error:
                raise ValueError("an answer with an address or a device that is none") from error
    raise ValueError("an answer with something else than addresses")
