"""Any table that our objects can say: saved by ipvsadm, imported, applied by an agent, exported, restored by ipvsadm.

All of it on a real kernel, in namespaces of one guest, and compared as netlink dumps: `ipvsadm -S` leaves out
thresholds.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, given, settings

from lvs_lab.lab_machine import GuestMachine
from lvs_lab.python_packages import agent_environment
from support import round_trip_probe
from support.lab_fixtures import session_lab
from support.saved_tables import Block, lines_of, tables
from support.table_objects import ADDRESS, exported, imported, manifests

pytestmark = pytest.mark.lab

COUNT: Final = 100
FILE: Final = "/run/round-trips.json"
OPTIONS: Final = frozenset(f"-{letter}" for letter in "tuf6spMobrgimwxy") | {
    "--sctp-service",
    "--pe",
    *("--tun-type", "gre", "gue", "--tun-port", "--tun-csum", "--tun-remcsum", "--tun-nocsum"),
}
BOTH_WAYS: Final = {(True, False), (False, True)}
"""Whether a service and its real server have IPv6 addresses."""
TOPOLOGY: Final = """\
segments: [lan]
nodes:
  director: {role: director, interfaces: {eth0: {segment: lan, addresses: [192.168.10.11/24]}}}
controlPlane: {enabled: false}
"""


@pytest.fixture(scope="module")
def director() -> Iterator[GuestMachine]:
    with session_lab("round-trip", TOPOLOGY) as lab:
        yield lab.guest("director")


def drawn() -> list[list[Block]]:
    """Tables as the property tests of the import have them."""
    found: list[list[Block]] = []

    @settings(max_examples=COUNT, phases=[Phase.generate], database=None)
    @given(table=tables())
    def collect(table: list[Block]) -> None:
        found.append(table)

    collect()
    return found


def crossing(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Addresses of services with those of real servers of the other family."""
    for line in lines:
        if found := re.search(r"^-a (?:-t|-u|--sctp-service) (\S+):\d+ -r (\S+):\d+ -i", line):
            vip, server = found.groups()
            if (":" in vip) is not (":" in server):
                yield vip, server


def test_tables_come_back_from_a_kernel_as_they_were(director: GuestMachine) -> None:
    chosen = [lines_of(table) for table in drawn()]
    assert {word for lines in chosen for line in lines for word in line.split()} >= OPTIONS
    assert {(":" in place, ":" in server) for lines in chosen for place, server in crossing(lines)} == BOTH_WAYS
    cases = []
    for lines in chosen:
        objects = imported(lines)
        assert (objects.losses, objects.notes) == ((), ())
        cases.append({"saved": lines, "manifests": manifests(objects), "exported": exported(objects)})
    text = json.dumps({"address": ADDRESS, "tables": cases})
    director.exec(["sh", "-c", f"cat > {FILE}"], stdin=text, check=True)
    probe = Path(round_trip_probe.__file__).read_text(encoding="utf-8")
    done = director.exec(["python3", "-", FILE], stdin=probe, env=agent_environment(), check=True, timeout=300)
    different = json.loads(done.stdout.splitlines()[-1])
    assert different == {}, "\n".join(chosen[int(next(iter(different)))])
