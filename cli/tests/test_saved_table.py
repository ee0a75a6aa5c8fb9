"""What of a saved table can not be read: as ipvsadm -R refuses it, and names in place of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvs_api.network_types import Family, ForwardingMethod, Protocol
from lvs_cli.saved_table import SavedPersistence, read_saved_table
from lvs_cli.table_objects import Target, objects_of
from lvs_core.plan import MarkKey, VirtualServerKey

WEB = "-A -t 192.168.4.15:80 -s wrr"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([WEB, "-a -t 192.168.4.15:80 -r web1:80"], "line 2: -r web1:80: web1 is no IP address; names are another"),
        (["-A -t 192.168.4.15:http -s wrr"], "line 1: -t 192.168.4.15:http: http is no port number; names are"),
        (["-A -u [2001:db8::1]:domain"], "line 1: -u [2001:db8::1]:domain: domain is no port number"),
        (["-A -t [2001:db8::1] -p"], "line 1: -t [2001:db8::1]: expected [ADDRESS]:PORT"),
        (["-A -t 192.168.4.15:65536"], "line 1: -t 65536: expected a number from 0 to 65535"),
        (["-A -t fe80::1%eth0 -p"], "line 1: -t fe80::1%eth0: an address with a zone can not be balanced"),
        (["", "# a comment", "-a -t 192.168.4.15:80 -r 192.168.4.100"], "line 3: TCP 192.168.4.15:80 was not added"),
        ([WEB, WEB], "line 2: TCP 192.168.4.15:80 was added by line 1 already"),
        (
            [WEB, "-a -t 192.168.4.15:80 -r 192.168.4.100:80", "-a -t 192.168.4.15:80 -r 192.168.4.100:81 -i"],
            "line 3: the same real server of TCP 192.168.4.15:80 was added by line 2 already",
        ),
        ([f"{WEB} -s rr"], "line 1: -s stands there twice"),
        ([f"{WEB} -w 1"], "line 1: -w does not go with -A"),
        ([WEB, "-a -t 192.168.4.15:80 -r 192.168.4.100 -s rr"], "line 2: -s does not go with -a"),
        ([f"{WEB} -z"], "line 1: -z is no option of virtual services and real servers"),
        ([f"{WEB} --wait"], "line 1: --wait is no option of virtual services and real servers"),
        ([f"{WEB} --ops=1"], "line 1: -o takes no value"),
        ([f"{WEB} why"], "line 1: why is not expected here"),
        (["TCP  192.168.4.15:80 rr"], "line 1: TCP is no command: a table is of lines with -A and -a"),
        (["-A -s wrr -t"], "line 1: -t needs a value"),
        (["-A -s wrr"], "line 1: expected one virtual service: -t, -u, --sctp-service or -f"),
        (["-A -t 192.168.4.15:80 -u 192.168.4.15:80"], "line 1: expected one virtual service"),
        (["-t 192.168.4.15:80"], "line 1: expected one of -A, which adds a virtual service, and -a"),
        (["-A -a -t 192.168.4.15:80"], "line 1: expected one of -A, which adds a virtual service, and -a"),
        ([WEB, "-E -t 192.168.4.15:80 -s rr"], "line 2: -E changes a table; expected one as `ipvsadm -S -n` writes it"),
        ([WEB, "-C"], "line 2: -C changes a table"),
        (["-A -t 192.168.4.15:0 -s rr"], "line 1: port 0 (every port, as where none stands) needs -p"),
        (["-A -t 192.168.4.15:80 -o"], "line 1: -o is only for UDP (-u) and marks (-f)"),
        (["-A -t 192.168.4.15:80 -6"], "line 1: -6 is only for marks (-f)"),
        (["-A -f 0"], "line 1: -f 0: expected a number from 1 to 4294967295"),
        (["-A -f ten"], "line 1: -f ten: expected a number"),
        ([f"{WEB} -p 2678401"], "line 1: -p 2678401: expected a number from 1 to 2678400"),
        ([f"{WEB} -p 60 -M 24"], "line 1: -M 24: expected a netmask, such as 255.255.255.0"),
        (["-A -f 1 -6 -p 60 -M 129"], "line 1: -M 129: expected a number from 1 to 128"),
        ([WEB, "-a -t 192.168.4.15:80"], "line 2: -r, the real server, is missing"),
        ([WEB, "-a -t 192.168.4.15:80 -r 192.168.4.100 -g -m"], "line 2: only one of -g and -m is possible"),
        ([WEB, "-a -t 192.168.4.15:80 -r 192.168.4.100 -w 65536"], "line 2: -w 65536: expected a number from 0 to"),
        ([WEB, "-a -t 192.168.4.15:80 -r 192.168.4.100 -w -1"], "line 2: -w -1: expected a number from 0 to"),
        ([WEB, "-a -t 192.168.4.15:80 -r 192.168.4.100 -x 5 -y 6"], "line 2: -y 6 is above -x 5"),
    ],
)
def test_faults(lines: list[str], fault: str) -> None:
    (found,) = read_saved_table("\n".join(lines)).faults
    assert found.startswith(fault)


def test_servers_of_a_refused_virtual_service_are_not_told_as_well() -> None:
    text = "-A -t 192.168.4.15 -s rr\n-a -t 192.168.4.15 -r 192.168.4.100\n-a -t 192.168.4.15:0 -r 192.168.4.101:0 -g\n"
    (found,) = read_saved_table(text).faults
    assert found.startswith("line 1: port 0")


def test_every_fault_is_named() -> None:
    table = read_saved_table("-A -t a:80\n-A -t 192.168.4.15:80\n-A -t b:80\n")
    assert [fault.partition(":")[0] for fault in table.faults] == ["line 1", "line 3"]
    assert len(table.services) == 1


def test_what_is_left_out_is_ipvsadms_default() -> None:
    text = "-C\nipvsadm -A -t 192.168.4.15:80\n/sbin/ipvsadm -at 192.168.4.15:80 -r192.168.4.100 -w3\n"
    (one,) = read_saved_table(text).services
    assert (one.line, one.scheduler, one.persistence) == (2, "wlc", None)
    assert one.key == VirtualServerKey(address=one.servers[0].address - 85, port=80, protocol=Protocol.TCP)
    (server,) = one.servers
    assert (server.port, server.weight, server.method) == (80, 3, ForwardingMethod.DIRECT_ROUTING)


def test_older_and_odd_spellings() -> None:
    """Version 1.26 wrote ops and pe without dashes, and all of them write large marks as negative numbers."""
    text = "-A -f -2 -6 -p 60 ops\n-A -u 2001:db8::15 -p -O\n-A -u 192.168.4.15:5060 -p 60 pe sip\n"
    mark, every_port, sip = read_saved_table(text).services
    sticky = SavedPersistence(timeout_seconds=300, prefix_length=128)
    assert (mark.key, mark.one_packet_scheduling) == (MarkKey(mark=2**32 - 2, family=Family.IPV6), True)
    assert (every_port.port, every_port.one_packet_scheduling, every_port.persistence) == (0, True, sticky)
    assert sip.engine == "sip"


WORDS = [
    "-A",
    "-a",
    "-t",
    "-u",
    "-f",
    "-r",
    "-p",
    "-M",
    "-s",
    "-b",
    "-w",
    "-x",
    "-6",
    "-o",
    "-m",
    "--pe",
    "--ops=",
    "--set",
]
VALUES = [
    "192.168.4.15:80",
    "[2001:db8::1]:0",
    "[",
    "1",
    "-1",
    "9" * 5000,
    "\u0661",
    "rr",
    "255.255.255.0",
    "\x0b",
    "#",
    "",
]


@given(lines=st.lists(st.lists(st.sampled_from([*WORDS, *VALUES]) | st.text(max_size=5), max_size=8), max_size=4))
def test_nothing_that_is_read_ends_in_a_traceback(lines: list[list[str]]) -> None:
    text = "\n".join(" ".join(words) for words in lines)
    table = read_saved_table(text)
    assert {int(fault.split()[1].rstrip(":")) for fault in table.faults} <= set(range(1, text.count("\n") + 2))
    assert objects_of(table, Target(director_group="default")).documents is not None
