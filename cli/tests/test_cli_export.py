"""What `kubectl lvs export` writes and notes. What ipvsadm -R makes of it: e2e/scenarios/test_counted_traffic.py."""

from typing import Any

import pytest

from lvs_api.kinds import SERVICE_SLICE
from lvs_api.objects import parse_object
from lvs_api.testing import service_slice, slice_member
from lvs_cli.__main__ import main
from lvs_cli.cluster import Cluster

DIRECT: dict[str, Any] = {"method": "DirectRouting"}


class Slices(Cluster):
    """A cluster in memory."""

    def __init__(self, *raws: dict[str, Any]) -> None:
        self.raws = raws
        self.namespace = "default"

    def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        assert kind is SERVICE_SLICE
        found = [parse_object(SERVICE_SLICE, raw, generated=True) for raw in self.raws]
        return [one for one in found if namespace in {None, one.metadata.namespace}]


def exported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cluster: Slices, *words: str
) -> tuple[int, list[str], str]:
    monkeypatch.setattr("lvs_cli.__main__.Cluster", lambda **_: cluster)
    code = main(["export", *words])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def accepted(**changes: Any) -> dict[str, Any]:
    made = {
        "generation": 1,
        "addresses": ["192.168.4.15"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "scheduler": "wrr",
    }
    return made | changes


def member(name: str, address: str, **fields: Any) -> dict[str, Any]:
    return slice_member(name, address, **({"forwarding": DIRECT, "prepared": True, "weight": 1} | fields))


def by_gue(**options: str) -> dict[str, Any]:
    return {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080, **options}}


def test_every_option_of_the_form(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    persistence = {"timeoutSeconds": 60, "ipv4PrefixLength": 24, "ipv6PrefixLength": 64}
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "sip", "port": 5060, "protocol": "UDP"}]
    service = accepted(
        addresses=["192.168.4.15", "2001:db8::15"],
        ports=ports,
        scheduler="sh",
        schedulerFlags=["sh-port", "sh-fallback"],
        persistence=persistence,
    )
    members = [
        member("a", "192.168.4.100", weight=3, upperThreshold=100, lowerThreshold=50),
        member("b", "192.168.4.101", forwarding={"method": "Tunnel", "tunnel": {"type": "IPIP"}}),
        member("d", "192.168.4.102", forwarding={"method": "Tunnel", "tunnel": {"type": "GRE"}}),
        member("e", "192.168.4.103", forwarding=by_gue()),
        member("f", "192.168.4.104", forwarding=by_gue(checksum="RemoteOffload")),
        member("c", "2001:db8::100", forwarding={"method": "Masquerade"}, port=8080),
    ]
    code, lines, _ = exported(
        monkeypatch, capsys, Slices(service_slice(service=service, members=members)), "--format", "ipvsadm-save"
    )
    assert code == 0
    assert lines == [
        "-A -t 192.168.4.15:80 -s sh -p 60 -M 255.255.255.0 -b sh-fallback,sh-port",
        "-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 3 -x 100 -y 50",
        "-a -t 192.168.4.15:80 -r 192.168.4.101:80 -i -w 1",
        "-a -t 192.168.4.15:80 -r 192.168.4.102:80 -i -w 1 --tun-type gre --tun-nocsum",
        "-a -t 192.168.4.15:80 -r 192.168.4.103:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum",
        "-a -t 192.168.4.15:80 -r 192.168.4.104:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
        "-A -u 192.168.4.15:5060 -s sh -p 60 -M 255.255.255.0 -b sh-fallback,sh-port",
        "-a -u 192.168.4.15:5060 -r 192.168.4.100:5060 -g -w 3 -x 100 -y 50",
        "-a -u 192.168.4.15:5060 -r 192.168.4.101:5060 -i -w 1",
        "-a -u 192.168.4.15:5060 -r 192.168.4.102:5060 -i -w 1 --tun-type gre --tun-nocsum",
        "-a -u 192.168.4.15:5060 -r 192.168.4.103:5060 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum",
        "-a -u 192.168.4.15:5060 -r 192.168.4.104:5060 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
        "-A -t [2001:db8::15]:80 -s sh -p 60 -M 64 -b sh-fallback,sh-port",
        "-a -t [2001:db8::15]:80 -r [2001:db8::100]:8080 -m -w 1",
        "-A -u [2001:db8::15]:5060 -s sh -p 60 -M 64 -b sh-fallback,sh-port",
        "-a -u [2001:db8::15]:5060 -r [2001:db8::100]:8080 -m -w 1",
    ]


def test_what_the_form_can_not_say_is_noted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [
        member("leaving", "192.168.4.100", draining={"timeoutSeconds": 60}),
        member("new", "192.168.4.101", prepared=False),
        member("refused", "192.168.4.102", refused="DirectorIsRealServer"),
        member("behind", "192.168.4.103", forwarding={"method": "Masquerade", "sourceNat": True}),
    ]
    raw = service_slice(service=accepted(paused=True, onePacketScheduling=True), members=members)
    raw["spec"]["pool"]["healthCheck"] = {"intervalSeconds": 2, "timeoutSeconds": 1, "rise": 2, "fall": 3, "tcp": {}}
    code, lines, noted = exported(monkeypatch, capsys, Slices(raw))
    assert (code, lines) == (
        0,
        [
            "-A -t 192.168.4.15:80 -s wrr -o",
            "-a -t 192.168.4.15:80 -r 192.168.4.103:80 -m -w 1",
            "-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 0",
            "-a -t 192.168.4.15:80 -r 192.168.4.101:80 -g -w 1",
        ],
    )
    assert [line.removeprefix("note: default/web port http: ") for line in noted.splitlines()[1:]] == [
        "behind: source NAT is not in the file; it is a rule of the packet filter",
        "real servers are checked; the file gives each its full weight, whether its check passes or not",
        "new: not prepared yet, so without weight on directors, with it in the file",
        "leaving: leaving; the file says weight 0, and not when the drain ends",
        "refused: left out, as it is refused: DirectorIsRealServer",
        "paused: directors keep what they have, which may be another state than the file's",
    ]
    assert noted.startswith("note: this form has no addresses, sysctls, names, drains or checks")


def test_a_helper_is_noted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ports = [{"name": "ftp", "port": 21, "helper": "FTP"}]
    behind = member("a", "192.168.4.100", forwarding={"method": "Masquerade"})
    one = service_slice(service=accepted(ports=ports), members=[behind])
    code, lines, notes = exported(monkeypatch, capsys, Slices(one))
    assert (code, lines[0]) == (0, "-A -t 192.168.4.15:21 -s wrr")
    assert "note: default/web port ftp: the helper for FTP is not in the file" in notes


def test_namespaces_and_groups(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    here = service_slice(service=accepted(), directorGroup="edge", members=[])
    there = service_slice("other", namespace="shop", service=accepted(addresses=["192.168.4.16"]), members=[])
    cluster = Slices(here, there)
    code, lines, _ = exported(monkeypatch, capsys, cluster)
    assert (code, lines) == (0, ["-A -t 192.168.4.15:80 -s wrr"])
    assert exported(monkeypatch, capsys, cluster, "-n", "shop")[1] == ["-A -t 192.168.4.16:80 -s wrr"]
    both = exported(monkeypatch, capsys, cluster, "-A")
    assert both[:2] == (1, [])
    assert "--director-group default or edge" in both[2]
    assert exported(monkeypatch, capsys, cluster, "-A", "--director-group", "edge")[:2] == (code, lines)
    wrong = exported(monkeypatch, capsys, cluster, "--director-group", "default")
    assert wrong[2] == "error: no service of namespace default belongs to director group default, but to edge\n"
    assert "there are no LvsServiceSlices" in exported(monkeypatch, capsys, cluster, "-n", "empty")[2]


def test_what_is_left_out_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    second = service_slice("late", index=1, members=[member("a", "192.168.4.100")])
    double = service_slice("younger", namespace="shop", service=accepted(), members=[])
    cluster = Slices(service_slice(service=accepted(), members=[]), second, double)
    code, lines, said = exported(monkeypatch, capsys, cluster, "-A")
    assert (code, lines) == (1, ["-A -t 192.168.4.15:80 -s wrr"])
    assert "error: default/late: left out: its first slice is not there (yet)" in said
    assert "error: shop/younger: TCP 192.168.4.15:80 left out: default/web has it" in said


def test_marks_and_sctp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    marked = accepted(addresses=["192.168.4.15", "2001:db8::15"], firewallMark={"value": 4097})
    grouped = service_slice(service=marked, members=[member("a", "192.168.4.100"), member("b", "2001:db8::100")])
    code, lines, notes = exported(monkeypatch, capsys, Slices(grouped))
    assert code == 0
    assert lines == [
        "-A -f 4097 -s wrr",
        "-a -f 4097 -r 192.168.4.100:0 -g -w 1",
        "-A -f 4097 -6 -s wrr",
        "-a -f 4097 -6 -r [2001:db8::100]:0 -g -w 1",
    ]
    assert "default/web mark 4097 IPv6: what sets the mark on packets is not in the file" in notes
    ports = [{"name": "diameter", "port": 3868, "protocol": "SCTP"}]
    sctp = service_slice(service=accepted(ports=ports), members=[member("a", "192.168.4.100")])
    code, lines, _ = exported(monkeypatch, capsys, Slices(sctp))
    assert (code, lines[0]) == (0, "-A --sctp-service 192.168.4.15:3868 -s wrr")


def test_an_endpoint_has_a_port_for_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "https", "port": 443, "protocol": "TCP"}]
    own = [{"name": "http", "port": 8080}, {"name": "https", "port": 8443}]
    behind: dict[str, Any] = {"forwarding": {"method": "Masquerade"}}
    both = member("endpoint.10-1-0-1.8080", "10.1.0.1", ports=own, **behind)
    one = member("endpoint.10-1-0-2.9443", "10.1.0.2", ports=[{"name": "https", "port": 9443}], **behind)
    cluster = Slices(service_slice(service=accepted(ports=ports), members=[both, one]))
    code, lines, _ = exported(monkeypatch, capsys, cluster)
    assert code == 0
    assert lines == [
        "-A -t 192.168.4.15:80 -s wrr",
        "-a -t 192.168.4.15:80 -r 10.1.0.1:8080 -m -w 1",
        "-A -t 192.168.4.15:443 -s wrr",
        "-a -t 192.168.4.15:443 -r 10.1.0.1:8443 -m -w 1",
        "-a -t 192.168.4.15:443 -r 10.1.0.2:9443 -m -w 1",
    ]
