"""`kubectl lvs adopt`: what it takes over, what it leaves, and what it says of either.

That the kernel agrees, with traffic: e2e/scenarios/test_import.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from answering import Pages, answering
from hypothesis import given, settings

from lvs_api.director_table import TableService, TableTunnel
from lvs_api.testing import lvs_node, service_slice, slice_member
from lvs_cli.__main__ import main
from lvs_cli.entry_standing import Standing, judge, left_alone
from lvs_cli.table_objects import Target, objects_of
from lvs_cli.told_entries import saved_table_of
from lvs_core.manifests import plan_manifests, read_manifests
from support.saved_tables import DAMAGES, Block, Damage, lines_of, tables
from support.table_objects import ADDRESS, imported, manifests
from support.told_tables import told_services, told_table

API = "/apis/lvs-operator.io/v1alpha1"
AGENT = "/api/v1/namespaces/lvs-system/pods/agent-a:9460/proxy/v1/table"
HAND_MADE = """\
-A -t 192.168.9.1:80 -s wrr
-a -t 192.168.9.1:80 -r 192.168.9.100:80 -g -w 2 -x 100 -y 50
"""
POOL, SERVICE = (
    {"realServers": [{"name": "rs-192-168-9-100", "address": "192.168.9.100", "weight": 2}]},
    {
        "addresses": ["192.168.9.1"],
        "ports": [{"name": "tcp-80", "protocol": "TCP", "port": 80}],
        "scheduler": "wrr",
        "forwarding": {"method": "DirectRouting"},
        "realServerPoolRef": {"name": "vip-192-168-9-1"},
        "directorGroupRef": {"name": "default"},
    },
)
POOL["realServers"][0] |= {"upperThreshold": 100, "lowerThreshold": 50}


def listed(*items: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps({"items": items, "metadata": {}}).encode()


def told(*services: TableService) -> tuple[int, bytes]:
    return 200, told_table(services).model_dump_json(by_alias=True).encode()


def director(*groups: str) -> tuple[int, bytes]:
    return listed(lvs_node("director-1") | {"spec": {"directorGroups": groups}}, lvs_node("server-1") | {"spec": {}})


def wanting(scheduler: str = "wrr", *, paused: bool = False, **member: Any) -> dict[str, Any]:
    """The slice of an object that wants the hand-made virtual service."""
    made = {"address": "192.168.9.100", "weight": 2, "upperThreshold": 100, "lowerThreshold": 50} | member
    raw = service_slice("web", members=[slice_member("rs1", made.pop("address"), **made)])
    raw["spec"]["service"] |= {"addresses": ["192.168.9.1"], "scheduler": scheduler, "paused": paused}
    return raw


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    """An API server of one director with a hand-made table, whose pages a test may change."""
    pod = {"metadata": {"name": "agent-a"}, "spec": {"nodeName": "director-1"}, "status": {"phase": "Running"}}
    pages: Pages = {
        f"{API}/lvsnodes": director("default"),
        f"{API}/lvsserviceslices": listed(),
        f"{API}/namespaces/shop/lvsrealserverpools": listed(),
        f"{API}/namespaces/shop/lvsvirtualservices": listed(),
        "/api/v1/namespaces/lvs-system/pods": listed(pod),
        AGENT: told(*told_services(HAND_MADE)),
    }
    with answering(pages) as url:
        kubeconfig = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield pages


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command: (exit code, standard output, standard error)."""

    def run_adopt(*words: str) -> tuple[int, str, str]:
        code = main(["adopt", "director-1", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_adopt


# what kernels and objects say


@settings(max_examples=30)
@given(table=tables())
def test_every_table_becomes_the_objects_that_import_makes_and_equals_their_plan(table: list[Block]) -> None:
    services = told_services("\n".join(lines_of(table)))
    objects = objects_of(saved_table_of(services), Target(director_group="default"))
    assert objects == imported(lines_of(table))
    (plan,) = plan_manifests(read_manifests(manifests(objects)), [ADDRESS]).plan.directing
    planned = {one.key: one for one in plan.services}
    for entry in judge(services, planned):
        assert (entry.standing, entry.why, list(left_alone(entry))) == (Standing.EQUAL, (), [])
        assert {one.standing for one in entry.real_servers} == {Standing.EQUAL}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: " ".join(damage.lines))
def test_what_the_form_can_not_say_is_said_without_a_line(damage: Damage) -> None:
    """Options without meaning and commands of the file are none of the kernel's."""
    text = "\n".join(line for line in damage.lines if line.startswith(("-A", "-a")))
    objects = objects_of(saved_table_of(told_services(text)), Target(director_group="default"))
    assert not any("line " in loss for loss in objects.losses)


# what is printed


@pytest.mark.usefixtures("cluster")
def test_what_nobody_wants_becomes_objects_with_all_that_the_kernel_knows(run: Any) -> None:
    code, out, said = run()
    assert code == 0
    documents = list(yaml.safe_load_all(out))
    assert [raw["spec"] for raw in documents] == [POOL, SERVICE]
    assert {raw["metadata"]["name"] for raw in documents} == {"vip-192-168-9-1"}
    assert said == "note: no real server is checked until its LvsRealServerPool has a healthCheck\n"


def test_options_are_those_of_import(cluster: Pages, run: Any) -> None:
    cluster[f"{API}/lvsnodes"] = director("edge", "inner")
    cluster[f"{API}/namespaces/web/lvsrealserverpools"] = listed()
    cluster[f"{API}/namespaces/web/lvsvirtualservices"] = listed()
    _, out, _ = run("--namespace", "web", "--director-group", "edge", "--paused")
    pool, service = yaml.safe_load_all(out)
    assert pool["metadata"]["namespace"] == "web"
    assert service["spec"] == SERVICE | {"directorGroupRef": {"name": "edge"}, "paused": True}


def test_the_directors_own_group_is_meant(cluster: Pages, run: Any) -> None:
    cluster[f"{API}/lvsnodes"] = director("edge")
    _, out, _ = run()
    assert "directorGroupRef: {name: edge}" in out


def test_what_is_ours_is_left_out(cluster: Pages, run: Any) -> None:
    (service,) = told_services(HAND_MADE)
    ours = [service.real_servers[0].model_copy(update={"ours": True})]
    named = service.model_copy(update={"namespace": "shop", "name": "web", "real_servers": ours})
    leaving = service.model_copy(update={"real_servers": ours})
    for one in (named, leaving):
        cluster[AGENT] = told(one)
        code, out, said = run()
        assert (code, out) == (0, "")
        assert said.startswith("note: director-1: every virtual service of its kernel is wanted by an object already")
    cluster[AGENT] = told(named, *told_services(HAND_MADE.replace(".1:", ".2:")))
    assert "192.168.9.2" in run()[1]
    assert "192.168.9.1\n" not in run()[1]


def test_what_equals_an_object_is_its_own_affair(cluster: Pages, run: Any) -> None:
    cluster[f"{API}/lvsserviceslices"] = listed(wanting())
    assert run() == (
        0,
        "",
        (
            "note: TCP 192.168.9.1:80 equals what default/web wants: it becomes ours by itself\n"
            "note: director-1: every virtual service of its kernel is wanted by an object already; nothing is printed\n"
        ),
    )
    cluster[f"{API}/lvsserviceslices"] = listed(wanting(paused=True))
    assert "equals what default/web (paused) wants: it becomes ours when its pause ends" in run()[2]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            wanting("rr"),
            (
                "TCP 192.168.9.1:80 stays as it is: default/web wants it otherwise: "
                "scheduler is wrr in the kernel and rr there"
            ),
        ),
        (
            wanting(upperThreshold=0, lowerThreshold=0),
            (
                "real server 192.168.9.100:80 of TCP 192.168.9.1:80 stays as it is: default/web wants it otherwise: "
                "upperThreshold is 100 in the kernel and 0 there; lowerThreshold is 50 in the kernel and 0 there"
            ),
        ),
        (
            wanting(forwarding={"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080, "checksum": "UDP"}}),
            (
                "forwarding.method is DirectRouting in the kernel and Tunnel there; "
                "forwarding.tunnel is none in the kernel and GUE to port 6080 UDP there"
            ),
        ),
        (
            wanting(address="192.168.9.101"),
            (
                "real server 192.168.9.100:80 of TCP 192.168.9.1:80 stays as it is: default/web has the virtual "
                "service, and no such real server in its pool"
            ),
        ),
    ],
)
def test_what_an_object_wants_otherwise_is_named_by_its_fields(
    cluster: Pages, run: Any, wanted: dict[str, Any], said: str
) -> None:
    other = told_services(HAND_MADE.replace(".1:", ".2:"))
    cluster[AGENT] = told(*told_services(HAND_MADE), *other)
    cluster[f"{API}/lvsserviceslices"] = listed(wanted)
    code, out, errors = run()
    assert (code, out) == (1, "")
    assert said in errors
    assert "error: nothing is printed, for that would not become ours" in errors
    code, out, errors = run("--allow-loss")
    assert code == 0
    assert said in errors
    assert "192.168.9.2" in out
    assert "192.168.9.1]" not in out


def test_persistence_is_compared_field_by_field(cluster: Pages, run: Any) -> None:
    wanted = wanting()
    wanted["spec"]["service"]["persistence"] = {"timeoutSeconds": 60, "ipv4PrefixLength": 32, "ipv6PrefixLength": 128}
    cluster[f"{API}/lvsserviceslices"] = listed(wanted)
    assert "persistence.timeoutSeconds is none in the kernel and 60 there" in run()[2]
    cluster[AGENT] = told(*told_services(HAND_MADE.replace("wrr", "wrr -p 60 -M 255.255.255.0")))
    assert "wants it otherwise: persistence prefix length is 24 in the kernel and 32 there\n" in run()[2]


def test_what_the_form_can_not_say_is_left_out_and_named(cluster: Pages, run: Any) -> None:
    (service,) = told_services(HAND_MADE)
    local = service.real_servers[0].model_copy(update={"method": "Local"})
    strange = service.real_servers[0].model_copy(
        update={"address": "192.168.9.101", "method": "Tunnel", "tunnel": TableTunnel(type="OTHER")}
    )
    cluster[AGENT] = told(service.model_copy(update={"real_servers": [local, strange]}))
    code, out, said = run()
    assert (code, out) == (1, "")
    assert "error: real server 192.168.9.100:80 of TCP 192.168.9.1:80 is left out: there is no method Local" in said
    assert (
        "error: real server 192.168.9.101:80 of TCP 192.168.9.1:80 is left out: --tun-type other can not be said"
        in said
    )
    assert "error: TCP 192.168.9.1:80 is left out: 0 real servers are left" in said


def test_a_port_that_ipvsadm_would_not_have_made_is_no_note_but_a_loss(cluster: Pages, run: Any) -> None:
    """Under -g the kernel takes any port, and an entry of another one would not be ours."""
    (service,) = told_services(HAND_MADE)
    moved = [service.real_servers[0].model_copy(update={"port": 8080})]
    cluster[AGENT] = told(service.model_copy(update={"real_servers": moved}))
    code, out, said = run()
    assert (code, out) == (1, "")
    assert "error: real server 192.168.9.100:8080 of TCP 192.168.9.1:80: its port is left out: it gets port 80" in said


def test_an_object_that_is_there_is_not_changed(cluster: Pages, run: Any) -> None:
    """A new port on an address of ours would get that object's name, and take its other ports away."""
    there = {"apiVersion": "lvs-operator.io/v1alpha1", "kind": "LvsVirtualService"}
    metadata = {"name": "vip-192-168-9-1", "namespace": "shop", "uid": "u", "generation": 1}
    other = SERVICE | {"ports": [{"name": "https", "protocol": "TCP", "port": 443}]}
    cluster[f"{API}/namespaces/shop/lvsvirtualservices"] = listed(there | {"metadata": metadata, "spec": other})
    code, out, said = run("--allow-loss")
    assert (code, out) == (0, "")
    assert "LvsVirtualService shop/vip-192-168-9-1 is there already and says otherwise: it is not printed" in said
    cluster[f"{API}/namespaces/shop/lvsvirtualservices"] = listed(there | {"metadata": metadata, "spec": SERVICE})
    code, out, _ = run()
    assert (code, len(list(yaml.safe_load_all(out)))) == (0, 2)


# --dry-run


def test_a_dry_run_says_what_stands_where(cluster: Pages, run: Any) -> None:
    (service,) = told_services(HAND_MADE)
    ours = service.model_copy(
        update={
            "namespace": "shop",
            "name": "mine",
            "address": "192.168.9.3",
            "real_servers": [service.real_servers[0].model_copy(update={"ours": True})],
        }
    )
    new = told_services(HAND_MADE.replace(".1:", ".2:"))
    cluster[AGENT] = told(ours, service, *new)
    cluster[f"{API}/lvsserviceslices"] = listed(wanting(weight=5, prepared=False))
    code, out, _ = run("--dry-run")
    assert code == 0
    reason = ["weight", "2", "becomes", "0:", "it", "is", "not", "prepared", "yet"]
    assert [line.split() for line in out.splitlines()] == [
        ["ENTRY", "STATE", "OBJECT"],
        ["TCP", "192.168.9.3:80", "ours", "shop/mine"],
        ["->", "192.168.9.100:80", "ours"],
        ["TCP", "192.168.9.1:80", "becomes", "ours", "default/web"],
        ["->", "192.168.9.100:80", "becomes", "ours", *reason],
        ["TCP", "192.168.9.2:80", "not", "ours", "-"],
        ["->", "192.168.9.100:80", "not", "ours"],
        [],
        ["LvsRealServerPool", "shop/vip-192-168-9-2:", "would", "be", "created"],
        ["LvsVirtualService", "shop/vip-192-168-9-2:", "would", "be", "created"],
    ]
    cluster[f"{API}/lvsserviceslices"] = listed(wanting("rr", address="192.168.9.101"))
    code, out, said = run("--dry-run")
    assert code == 1
    assert "in the way   default/web   scheduler is wrr in the kernel and rr there" in out
    assert said.count("error: ") == 2
    cluster[f"{API}/lvsserviceslices"] = listed(wanting(address="192.168.9.101"))
    assert "  -> 192.168.9.101:80   not there      " in run("--dry-run")[1]


# user mistakes


def test_who_is_no_director_is_refused(cluster: Pages, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", "server-1"]) == 1
    assert capsys.readouterr().err == "error: there is no director server-1; there are director-1\n"
    cluster[f"{API}/lvsnodes"] = listed()
    assert main(["adopt", "director-1"]) == 1
    assert capsys.readouterr().err.startswith("error: there is no director; ")


def test_the_group_must_be_the_directors(cluster: Pages, run: Any) -> None:
    assert run("--director-group", "edge")[::2] == (
        1,
        "error: director-1 is not in director group edge, but in default\n",
    )
    cluster[f"{API}/lvsnodes"] = director("edge", "inner")
    assert run()[2] == "error: director-1 is in several director groups: --director-group edge or inner\n"


FORBIDDEN = 403, json.dumps({"kind": "Status", "message": "it is forbidden"}).encode()


@pytest.mark.parametrize(
    ("page", "answer", "said"),
    [
        (AGENT, FORBIDDEN, "error: director-1: the API server says 403: it is forbidden"),
        (AGENT, (503, b"this node is no director\n"), "error: director-1: the API server says 503: this node is no"),
        (f"{API}/lvsserviceslices", FORBIDDEN, "error: the API server refused (403): it is forbidden"),
        ("/api/v1/namespaces/lvs-system/pods", listed(), "error: director-1: no agent's pod runs there"),
        (f"{API}/namespaces/shop/lvsvirtualservices", FORBIDDEN, "error: the API server refused (403)"),
    ],
)
def test_who_does_not_answer_is_named(
    cluster: Pages, run: Any, page: str, answer: tuple[int, bytes], said: str
) -> None:
    cluster[page] = answer
    code, out, errors = run()
    assert (code, out) == (1, "")
    assert errors.startswith(said)


def test_an_agent_at_an_address_of_its_own(cluster: Pages, run: Any) -> None:
    with answering({"/v1/table": cluster.pop(AGENT)}) as url:
        assert run("--metrics-url", f"director-1={url}")[0] == 0
    code, _, said = run("--metrics-url", f"director-1={url}")
    assert (code, said.partition(" does not answer")[0]) == (1, f"error: director-1: {url}")


@pytest.mark.parametrize("words", [[], ["director-1", "--namespace", "Shop_1"], ["director-1", "--metrics-url", "x"]])
def test_a_wrong_command_line(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["adopt", *words])
