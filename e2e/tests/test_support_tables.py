"""Reading ipvsadm's tables."""

from support.tables import Counters, Destination, Service, parse_counters, parse_table, shape

LISTED = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.4.15:80 wrr persistent 20
  -> 192.168.4.100:80             Route   1      2          30
  -> 192.168.4.200:80             Route   0      0          0
TCP  [2001:db8:4::15]:80 rr
  -> [2001:db8:4::100]:80         Route   1      0          0
UDP  192.168.4.15:53 sh (sh-fallback,sh-port)
"""
COUNTED = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.168.4.15:80                   300     1500        0    90000        0
  -> 192.168.4.100:80                  100      500        0    30000        0
  -> 192.168.4.200:80                  200     1000        0    60000        0
"""


def test_table_is_read_whole() -> None:
    table = parse_table(LISTED)
    assert list(table) == ["TCP 192.168.4.15:80", "TCP [2001:db8:4::15]:80", "UDP 192.168.4.15:53"]
    assert table["TCP 192.168.4.15:80"] == Service(
        scheduler="wrr",
        flags="persistent 20",
        destinations={
            "192.168.4.100:80": Destination(method="Route", weight=1, active=2, inactive=30),
            "192.168.4.200:80": Destination(method="Route", weight=0, active=0, inactive=0),
        },
    )


def test_shape_leaves_counts_out() -> None:
    assert shape(parse_table(LISTED)) == {
        "TCP 192.168.4.15:80 wrr persistent 20": {"192.168.4.100:80": ("Route", 1), "192.168.4.200:80": ("Route", 0)},
        "TCP [2001:db8:4::15]:80 rr": {"[2001:db8:4::100]:80": ("Route", 1)},
        "UDP 192.168.4.15:53 sh (sh-fallback,sh-port)": {},
    }


def test_counters_are_read_by_service_and_real_server() -> None:
    assert parse_counters(COUNTED) == {
        ("TCP 192.168.4.15:80", ""): Counters(connections=300, in_packets=1500, out_packets=0),
        ("TCP 192.168.4.15:80", "192.168.4.100:80"): Counters(connections=100, in_packets=500, out_packets=0),
        ("TCP 192.168.4.15:80", "192.168.4.200:80"): Counters(connections=200, in_packets=1000, out_packets=0),
    }


def test_empty_table() -> None:
    assert parse_table("\n".join(LISTED.splitlines()[:3])) == {}


def test_a_mark_has_a_service_of_each_family() -> None:
    listed = """\
FWM  10 rr persistent 120 mask 255.255.255.0
  -> 192.168.4.100:0              Route   1      0          0
FWM  10 IPv6 wlc
  -> [2001:db8:4::100]:0          Route   2      0          0
"""
    assert shape(parse_table(listed)) == {
        "FWM 10 rr persistent 120 mask 255.255.255.0": {"192.168.4.100:0": ("Route", 1)},
        "FWM 10 IPv6 wlc": {"[2001:db8:4::100]:0": ("Route", 2)},
    }
