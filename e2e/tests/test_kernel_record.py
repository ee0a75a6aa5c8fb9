"""What the record of kernels calls a loss."""

from support.kernel_record import KernelRecord, held_for

VIP = "192.168.10.100"
TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.10.100:80 rr
  -> 192.168.10.21:80             Route   1      2          30
  -> 192.168.10.22:80             Route   0      0          0
TCP  192.168.10.101:80 rr
  -> 192.168.10.21:80             Route   1      0          0
"""
LINKS = '[{"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]}, {"ifname": "eth0", "addr_info": [{"local": "%s"}]}]'


def test_what_is_held_for_an_address() -> None:
    held = held_for(VIP, f"{TABLE}=\n{LINKS % VIP}\n")
    assert held == {"TCP 192.168.10.100:80", "TCP 192.168.10.100:80 -> 192.168.10.21:80", "192.168.10.100 on eth0"}
    assert held_for(VIP, f"=\n{LINKS % VIP}\n") == {"192.168.10.100 on eth0"}, "a real server without ipvsadm"
    assert held_for(VIP, f"{TABLE}=\n{LINKS % '192.168.10.101'}\n") == held - {"192.168.10.100 on eth0"}


def test_a_loss_is_told_once_each_time() -> None:
    record = KernelRecord(began={"d1": frozenset({"a", "b"})})
    for held in ({"a", "b", "c"}, {"a"}, {"a"}, {"a", "b"}, {"a"}):
        record.note("d1", frozenset(held), 1.0)
    assert record.losses == ["after 1.0 s: d1 lost b", "after 1.0 s: d1 lost b"]
    assert record.looks == 5
    assert [what for _, what in record.changes] == ["d1 +c", "d1 -b", "d1 -c", "d1 +b", "d1 -b"]


def test_what_may_be_lost_is_told_and_no_loss() -> None:
    record = KernelRecord(began={"d1": frozenset({"a"}), "d2": frozenset()}, may_lose=frozenset({"d1", "d2"}))
    record.note("d1", frozenset(), 1.0)
    record.note("d2", frozenset({"a"}), 1.2)
    assert record.losses == []
    assert record.changes == [(1.0, "d1 -a"), (1.2, "d2 +a")]
