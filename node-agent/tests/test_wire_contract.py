"""Every command and every kind of object, as a kernel took and told them when it was recorded."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lvs_agent.decide.changes import IpvsChange
from lvs_agent.kernel import ipvs_codec as codec
from lvs_agent.kernel.netlink_wire import GENL_HEADER, HEADER
from lvs_agent.kernel.wire_contract import EXCHANGES, misunderstandings

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "ipvs_conversation_linux_7.2.json").read_text(encoding="utf-8")
)
COMMANDS = {value for name, value in vars(codec).items() if name.startswith("CMD_") and "ATTR" not in name}


def test_what_was_recorded_is_sent_and_understood() -> None:
    assert len(RECORDED["exchanges"]) == len(EXCHANGES)
    assert misunderstandings(RECORDED) == {}


def test_every_command_and_every_change_was_recorded() -> None:
    requests = [bytes.fromhex(one["request"]) for one in RECORDED["exchanges"]]
    assert {GENL_HEADER.unpack_from(request, HEADER.size)[0] for request in requests} == COMMANDS
    kinds = {one["name"].split()[0] for one in RECORDED["exchanges"]}
    assert {change.__name__ for change in IpvsChange.__args__} <= kinds


@pytest.mark.parametrize(
    ("name", "part", "complaint"),
    [("time-outs", "request", "another request"), ("time-outs read", "answer", "the kernel said")],
)
def test_a_difference_is_seen(name: str, part: str, complaint: str) -> None:
    """The last byte is of a number that is not as large."""
    recorded = copy.deepcopy(RECORDED)
    exchange = next(one for one in recorded["exchanges"] if one["name"] == name)
    if part == "request":
        exchange["request"] = exchange["request"][:-2] + "01"
    else:
        exchange["answers"] = [exchange["answers"][0][:-2] + "01"]
    found = misunderstandings(recorded)
    assert list(found) == [name]
    assert found[name].startswith(complaint)
