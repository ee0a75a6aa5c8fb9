"""`kubectl lvs list`: whom it asks and how, what it says of who is not reached, and what it prints.

That the forms are ipvsadm's own, digit for digit, is seen beside a real kernel: e2e/scenarios/test_counted_traffic.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from answering import Pages, answering

from lvs_api.director_table import (
    DirectorTable,
    TablePersistence,
    TableRealServer,
    TableService,
    TableSyncDaemon,
    TableTimeouts,
    Traffic,
)
from lvs_api.network_types import Family
from lvs_api.testing import lvs_node
from lvs_cli.__main__ import main
from lvs_cli.ipvsadm_form import Form, Order, Style, listing, sort_services

NOTHING = Traffic(**dict.fromkeys(Traffic.model_fields, 0))
NAMESPACE = "/api/v1/namespaces/lvs-system/pods"


def real_server(last: int, **changes: Any) -> TableRealServer:
    made = TableRealServer(
        name=f"rs{last}",
        ours=True,
        address=f"192.168.4.{last}",
        port=80,
        method="DirectRouting",
        weight=1,
        active_connections=0,
        inactive_connections=0,
        persistent_connections=0,
        traffic=NOTHING,
    )
    return made.model_copy(update=changes)


def service(*servers: TableRealServer, **changes: Any) -> TableService:
    made = TableService(
        namespace="default",
        name="web",
        port_name="http",
        family=Family.IPV4,
        protocol="TCP",
        address="192.168.4.15",
        port=80,
        scheduler="wrr",
        traffic=NOTHING,
        real_servers=list(servers),
    )
    return made.model_copy(update=changes)


def table(*services: TableService, node: str = "director-1", **changes: Any) -> DirectorTable:
    made = DirectorTable(
        node=node,
        ipvs_version="1.2.1",
        connection_table_size=4096,
        wide_counters=True,
        timeouts=TableTimeouts(tcp_seconds=900, tcp_fin_seconds=120, udp_seconds=300),
        sync_daemons=[],
        services=list(services),
    )
    return made.model_copy(update=changes)


# what is printed


def test_the_plain_form() -> None:
    sticky = TablePersistence(timeout_seconds=60, prefix_length=24)
    web = service(real_server(101, weight=2, active_connections=3), real_server(100), persistence=sticky)
    mark = {"protocol": None, "address": None, "port": None, "family": Family.IPV6, "firewall_mark": 10}
    marked = service(real_server(1, address="2001:db8::1", method="Tunnel"), **mark, scheduler="rr", name=None)
    assert listing(table(marked, web), Style()).splitlines() == [
        "IP Virtual Server version 1.2.1 (size=4096)",
        "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
        "TCP  192.168.4.15:80 wrr persistent 60 mask 255.255.255.0",
        "  -> 192.168.4.100:80             Route   1      0          0         ",
        "  -> 192.168.4.101:80             Route   2      3          0         ",
        "FWM  10 IPv6 rr",
        "  -> [2001:db8::1]:80             Tunnel  1      0          0         ",
    ]


def test_counters_are_short_unless_every_digit_is_asked_for() -> None:
    traffic = Traffic.model_validate(NOTHING.model_dump() | {"connections": 99999999, "in_packets": 10**8})
    large = traffic.model_copy(update={"out_packets": 10**9, "in_bytes": 10**11, "out_bytes": 10**14})
    web = table(service(traffic=large))
    short, exact = (listing(web, Style(form=Form.STATS, exact=exact)).splitlines()[-1] for exact in (False, True))
    assert short == "TCP  192.168.4.15:80             " + " 99999999  100000K    1000M     100G     100T"
    assert exact.split()[2:] == ["99999999", "100000000", "1000000000", "100000000000", "100000000000000"]


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        (Form.STATS, "1 2 3 4 5"),
        (Form.RATE, "6 7 8 9 10"),
        (Form.THRESHOLDS, "50 40 20 30"),
        (Form.PERSISTENT_CONN, "1 60 20 30"),
    ],
)
def test_each_form_shows_its_figures(form: Form, columns: str) -> None:
    traffic = Traffic(**{name: number for number, name in enumerate(Traffic.model_fields, 1)})
    figures = {"active_connections": 20, "inactive_connections": 30, "persistent_connections": 60}
    server = real_server(100, traffic=traffic, upper_threshold=50, lower_threshold=40, **figures)
    lines = listing(table(service(server, traffic=traffic)), Style(form=form)).splitlines()
    assert lines[-1].split() == ["->", "192.168.4.100:80", *columns.split()]
    assert len(lines[1].split()) == 2 + len(columns.split())


def test_timeouts_and_daemons() -> None:
    assert listing(table(), Style(form=Form.TIMEOUT)) == "Timeout (tcp tcpfin udp): 900 120 300"
    without = table(timeouts=TableTimeouts(udp_seconds=300))
    assert listing(without, Style(form=Form.TIMEOUT)) == "Timeout (tcp tcpfin udp): - - 300"
    daemons = [TableSyncDaemon(state=state, interface="eth0", sync_id=7) for state in ("backup", "master")]
    assert listing(table(sync_daemons=daemons), Style(form=Form.DAEMON)).splitlines() == [
        "master sync daemon (mcast=eth0, syncid=7)",
        "backup sync daemon (mcast=eth0, syncid=7)",
    ]
    assert listing(table(), Style(form=Form.DAEMON)) == ""


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.NONE, ["b", "foreign", "a", "udp"]),
        (Order.ADDRESS, ["foreign", "a", "b", "udp"]),
        (Order.NAME, ["a", "b", "udp", "foreign"]),
        (Order.CONNECTIONS, ["b", "foreign", "a", "udp"]),
    ],
)
def test_orders(order: Order, expected: list[str]) -> None:
    b = service(real_server(1, active_connections=5), name="b", port=8080)
    foreign = service(real_server(1, inactive_connections=1), name=None, port_name="foreign", address="192.168.4.9")
    found = sort_services([b, foreign, service(name="a"), service(name="udp", protocol="UDP", port=1)], order)
    assert [one.name or one.port_name for one in found] == expected


def test_wide_names_the_objects() -> None:
    left = real_server(101, name=None)
    stranger = real_server(102, name=None, ours=False)
    lines = listing(table(service(real_server(100), left, stranger)), Style(names=True)).splitlines()
    assert [line.split()[-1] for line in lines[3:]] == ["default/web/http", "rs100", "leaving", "-"]
    assert lines[1].endswith("LvsVirtualService/port")


# whom it asks


def told(one: DirectorTable) -> tuple[int, bytes]:
    return 200, one.model_dump_json(by_alias=True).encode()


def listed(*items: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps({"items": items, "metadata": {}}).encode()


def pod(node: str, name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"phase": "Running"}}


def nodes(*directors: str) -> tuple[int, bytes]:
    raws = [lvs_node(name) | {"spec": {"directorGroups": ["default"]}} for name in directors]
    return listed(*raws, lvs_node("server-1") | {"spec": {}})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    """An API server of two directors, whose pages a test may change."""
    pages: Pages = {
        "/apis/lvs-operator.io/v1alpha1/lvsnodes": nodes("director-1", "director-2"),
        NAMESPACE: listed(pod("director-1", "agent-a"), pod("director-2", "agent-b")),
        f"{NAMESPACE}/agent-a:9460/proxy/v1/table": told(table(service(real_server(100)))),
        f"{NAMESPACE}/agent-b:9460/proxy/v1/table": told(table(node="director-2")),
    }
    with answering(pages) as url:
        kubeconfig = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield pages


@pytest.mark.usefixtures("cluster")
def test_every_director_is_listed_through_the_agents_pods(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.endswith(":")] == ["director-1:", "director-2:"]
    assert sum(line.startswith("  -> 192.168.4.100:80 ") for line in out) == 1


def test_one_director_alone_is_listed_without_its_name(cluster: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    del cluster[f"{NAMESPACE}/agent-b:9460/proxy/v1/table"]
    assert main(["list", "--director", "director-1"]) == 0
    assert capsys.readouterr().out.startswith("IP Virtual Server version 1.2.1 (size=4096)\n")


def test_agents_outside_of_pods_are_reached_by_their_nodes(cluster: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    del cluster[NAMESPACE]
    for node in ("director-1", "director-2"):
        cluster[f"/api/v1/nodes/{node}:9470/proxy/v1/table"] = told(table(node=node))
    assert main(["list", "--through", "nodes", "--metrics-port", "9470"]) == 0
    assert "director-2:\nIP Virtual Server" in capsys.readouterr().out


def test_directors_at_urls_need_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with answering({"/v1/table": told(table(service()))}) as url:
        assert main(["list", "--metrics-url", f"director-1={url}/", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["directors"][0]["services"][0]["name"] == "web"
        assert main(["list", "--metrics-url", f"director-1={url}", "--director", "director-1", "--timeout"]) == 0
        assert capsys.readouterr().out == "Timeout (tcp tcpfin udp): 900 120 300\n"
        assert main(["list", "--metrics-url", f"other={url}"]) == 1
        assert "the agent that answers there is that of director-1" in capsys.readouterr().err


def test_json_and_yaml_tell_everything_in_the_order_that_was_asked_for(
    cluster: Pages, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = service(real_server(100), real_server(101, active_connections=1), name="busy", port=8080)
    cluster[f"{NAMESPACE}/agent-a:9460/proxy/v1/table"] = told(table(service(), busy))
    assert main(["list", "-o", "json", "--sort", "connections"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["directors"][0]["services"]] == ["busy", "web"]
    assert [one["name"] for one in found["directors"][0]["services"][0]["realServers"]] == ["rs101", "rs100"]
    assert main(["list", "-o", "yaml", "--sort", "connections"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == found


FORBIDDEN = {"kind": "Status", "message": 'pods "agent-a:9460" is forbidden: User "u" cannot get resource "pods/proxy"'}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((403, json.dumps(FORBIDDEN).encode()), 'the API server says 403: pods "agent-a:9460" is forbidden'),
        ((503, b"this node is no director, or has not yet found out\n"), "503: this node is no director"),
        ((200, b"<html>"), "what answers there is no agent of this plug-in's version"),
        ((200, b'{"node": "director-1"}'), "what answers there is no agent of this plug-in's version: ipvsVersion"),
        (told(table(node="director-9")), "the agent that answers there is that of director-9"),
    ],
)
def test_who_is_not_reached_is_named_and_keeps_nobody_away(
    cluster: Pages, capsys: pytest.CaptureFixture[str], answer: tuple[int, bytes], said: str
) -> None:
    cluster[f"{NAMESPACE}/agent-a:9460/proxy/v1/table"] = answer
    assert main(["list"]) == 1
    read = capsys.readouterr()
    assert read.out.startswith("director-2:\nIP Virtual Server")
    assert "director-1:" not in read.out
    assert read.err.startswith("error: director-1: ")
    assert said in read.err


def test_a_director_without_a_pod_is_named(cluster: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    going = pod("director-1", "agent-a")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    waiting = pod("director-1", "agent-c") | {"status": {"phase": "Pending"}}
    cluster[NAMESPACE] = listed(going, waiting, pod("director-2", "agent-b"))
    assert main(["list"]) == 1
    assert "director-1: no agent's pod runs there in namespace lvs-system" in capsys.readouterr().err


def test_an_address_where_nobody_answers_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with answering({}) as url:
        pass
    assert main(["list", "--metrics-url", f"director-1={url}"]) == 1
    assert f"director-1: {url} does not answer" in capsys.readouterr().err


def test_an_agent_that_says_more_than_this_plug_in_knows_is_listed(
    cluster: Pages, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = json.loads(told(table(service(real_server(100))))[1])
    newer["later"] = newer["services"][0]["later"] = newer["services"][0]["realServers"][0]["later"] = {"x": 1}
    cluster[f"{NAMESPACE}/agent-a:9460/proxy/v1/table"] = (200, json.dumps(newer).encode())
    assert main(["list", "--director", "director-1"]) == 0
    assert "192.168.4.100:80" in capsys.readouterr().out


def test_narrow_counters_are_said(cluster: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    cluster[f"{NAMESPACE}/agent-a:9460/proxy/v1/table"] = told(table(wide_counters=False))
    assert main(["list", "--stats"]) == 0
    assert capsys.readouterr().err.startswith("note: director-1: its kernel counts connections and packets in 32 bits")


# what users get wrong


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--director", "server-1"], "there is no director server-1; there are director-1, director-2"),
        (["-o", "json", "--stats"], "-o json tells everything, every digit: leave out --stats"),
        (["-o", "yaml", "--exact"], "-o yaml tells everything, every digit: leave out --exact"),
    ],
)
def test_mistakes_get_a_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *words]) == 1
    assert capsys.readouterr().err == f"error: {said}\n"


def test_without_a_director_it_says_so(cluster: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    cluster["/apis/lvs-operator.io/v1alpha1/lvsnodes"] = nodes()
    assert main(["list"]) == 1
    assert "there is no director; LvsDirectorGroup.spec.nodes says which Nodes are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stats", "--rate"], "not allowed with argument"),
        (["--sort", "weight"], "invalid choice: 'weight'"),
        (["--through", "exec"], "invalid choice: 'exec'"),
        (["--metrics-port", "0"], "0 is no port: expected 1 to 65535"),
        (["--metrics-url", "http://10.0.0.5:9460"], "expected NODE=http://HOST:PORT"),
        (["--metrics-url", "director-1=10.0.0.5:9460"], "expected NODE=http://HOST:PORT"),
    ],
)
def test_wrong_command_lines_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["list", *words])
    assert said in capsys.readouterr().err
