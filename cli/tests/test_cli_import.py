"""`kubectl lvs import`: what it prints and compares. That nothing changes on the way: test_import_round_trip.py."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_api.objects import parse_object
from lvs_cli.__main__ import main
from lvs_cli.cluster import Cluster

TABLE = """\
-A -t 192.168.4.15:80 -s wrr -p 60 -M 255.255.255.0
-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1
-a -t 192.168.4.15:80 -r 192.168.4.200:80 -g -w 2
-A -t 192.168.4.15:443 -s wrr -p 60 -M 255.255.255.0
-a -t 192.168.4.15:443 -r 192.168.4.100:443 -g -w 1
-a -t 192.168.4.15:443 -r 192.168.4.200:443 -g -w 2
-A -u 192.168.4.15:53 -s rr
-a -u 192.168.4.15:53 -r 192.168.4.100:53 -g -w 1
-a -u 192.168.4.15:53 -r 192.168.4.200:53 -g -w 2
"""
OBJECTS = """\
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: vip-192-168-4-15-tcp-80}
spec:
  realServers:
  - {name: rs-192-168-4-100, address: 192.168.4.100, weight: 1}
  - {name: rs-192-168-4-200, address: 192.168.4.200, weight: 2}
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: vip-192-168-4-15-tcp-80}
spec:
  addresses: [192.168.4.15]
  ports:
  - {name: tcp-80, protocol: TCP, port: 80}
  - {name: tcp-443, protocol: TCP, port: 443}
  scheduler: wrr
  forwarding: {method: DirectRouting}
  persistence: {timeoutSeconds: 60, ipv4PrefixLength: 24}
  realServerPoolRef: {name: vip-192-168-4-15-tcp-80}
  directorGroupRef: {name: default}
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: vip-192-168-4-15-udp-53}
spec:
  addresses: [192.168.4.15]
  ports:
  - {name: udp-53, protocol: UDP, port: 53}
  scheduler: rr
  forwarding: {method: DirectRouting}
  realServerPoolRef: {name: vip-192-168-4-15-tcp-80}
  directorGroupRef: {name: default}
"""
LOSSY = "-A -t 192.168.4.16:80 -s wlc\n"
UNCHECKED = "note: no real server is checked until its LvsRealServerPool has a healthCheck\n"


class Objects(Cluster):
    """A cluster in memory."""

    def __init__(self, *raws: dict[str, Any]) -> None:
        self.raws = raws
        self.namespace = "shop"

    def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        found = [parse_object(kind, raw) for raw in self.raws if raw["kind"] == kind.name]
        return [one for one in found if namespace in {None, one.metadata.namespace}]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command with this standard input: (exit code, standard output, standard error)."""

    def run_import(text: str, *words: str, cluster: Objects | None = None) -> tuple[int, str, str]:
        def no_cluster(**_: object) -> Objects:
            assert cluster is not None
            return cluster

        monkeypatch.setattr("lvs_cli.__main__.Cluster", no_cluster)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        code = main(["import", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_import


def test_a_table_as_objects(run: Any, tmp_path: Path) -> None:
    code, out, said = run(TABLE)
    assert (code, out) == (0, OBJECTS)
    assert said.startswith(UNCHECKED + "note: no real server has thresholds, but ipvsadm -S leaves them out")
    saved = tmp_path / "ipvsadm"
    saved.write_text(TABLE, encoding="utf-8")
    assert run("", "--format", "ipvsadm-save", "-f", str(saved)) == (code, out, said)


def test_namespace_and_director_group(run: Any) -> None:
    _, out, _ = run(TABLE, "--namespace", "shop", "--director-group", "edge")
    documents = list(yaml.safe_load_all(out))
    assert {raw["metadata"]["namespace"] for raw in documents} == {"shop"}
    assert [raw["spec"].get("directorGroupRef") for raw in documents] == [None, {"name": "edge"}, {"name": "edge"}]


def test_paused_until_a_person_says_otherwise(run: Any) -> None:
    _, out, _ = run(TABLE, "--paused")
    assert [raw["spec"].get("paused") for raw in yaml.safe_load_all(out)] == [None, True, True]
    assert out.replace("  paused: true\n", "") == OBJECTS


@pytest.mark.parametrize("option", ["--namespace", "--director-group"])
def test_a_name_that_can_be_none_is_refused(run: Any, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(TABLE, option, "Shop_1")
    assert ended.value.code == 2
    assert "Shop_1 can not be the name of a" in capsys.readouterr().err


def test_nothing_is_printed_while_something_is_lost(run: Any) -> None:
    loss = "line 10: TCP 192.168.4.16:80 is left out: 0 real servers are left, and a LvsRealServerPool has 1 to 256"
    code, out, said = run(TABLE + LOSSY)
    assert (code, out) == (1, "")
    assert f"error: {loss}" in said
    assert "error: nothing is printed, for that would be lost: change the lines, or accept it with --allow-loss" in said
    code, out, said = run(TABLE + LOSSY, "--allow-loss")
    assert (code, out) == (0, OBJECTS)
    assert f"note: {loss}" in said
    assert "error:" not in said


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("-u 192.168.4.17:5060 -p 60 --pe h323", "there is no such engine, but sip"),
        ("-u 192.168.4.17:5060 --pe sip", "it counts only with -p"),
        ("-t 192.168.4.17:5060 -p 60 --pe sip", "it counts only for UDP (-u) and marks (-f)"),
    ],
)
def test_an_engine_that_says_nothing_is_named(run: Any, service: str, why: str) -> None:
    place = " ".join(service.split()[:2])
    code, _, said = run(f"-A {service}\n-a {place} -r 192.168.4.100\n")
    assert code == 1
    assert f"is left out: {why}" in said


def test_the_mark_of_what_directors_hand_on_is_no_services(run: Any) -> None:
    code, _, said = run("-A -f 4095\n-a -f 4095 -r 192.168.4.100\n")
    assert code == 1
    assert "is left out: 4095 is the mark by which directors" in said


def test_an_engine_is_kept(run: Any) -> None:
    _, out, _ = run("-A -u 192.168.4.17:5060 -p 60 --pe sip -o\n-a -u 192.168.4.17:5060 -r 192.168.4.100\n")
    _, service = yaml.safe_load_all(out)
    assert service["spec"]["persistence"] == {"timeoutSeconds": 60, "ipv4PrefixLength": 32, "engine": "sip"}


def test_what_is_otherwise_than_it_stands_there_is_noted(run: Any) -> None:
    code, out, said = run(
        "-A -t 192.168.4.15:80\n-a -t 192.168.4.15:80 -r 192.168.4.100:8080\n-A -f 7\n-a -f 7 -r 10.0.0.1"
    )
    assert code == 0
    assert "8080" not in out
    assert (
        "note: line 2: real server 192.168.4.100:8080 of TCP 192.168.4.15:80: gets port 80, as from ipvsadm -R" in said
    )
    assert "note: what sets firewall marks on packets, and brings these to the director, stays yours" in said


@pytest.mark.parametrize(
    ("text", "words", "error"),
    [
        ("-A -t www:80\n", (), "error: line 1: -t www:80: www is no IP address; names are another thing"),
        ("# nothing\n", (), "error: there is no virtual service in it: expected lines as `ipvsadm -S -n` writes them"),
        ("", ("-f", "/no/such/file"), "error: /no/such/file can not be read: No such file or directory"),
    ],
)
def test_faults_are_errors(run: Any, text: str, words: tuple[str, ...], error: str) -> None:
    code, out, said = run(text, *words)
    assert (code, out) == (1, "")
    assert said.startswith(error)


def test_what_is_no_text(run: Any, tmp_path: Path) -> None:
    saved = tmp_path / "ipvsadm"
    saved.write_bytes(b"\xff")
    code, _, said = run("", "-f", str(saved))
    assert (code, said.partition(": ")[2][: len(str(saved)) + 11]) == (1, f"{saved} is no text")


def test_a_dry_run_says_what_an_apply_would_do(run: Any) -> None:
    pool, web, dns = yaml.safe_load_all(OBJECTS)
    spec = web["spec"] | {"scheduler": "wlc", "paused": False}
    there = Objects(
        raw_object_of(pool, pool["spec"]), raw_object_of(web, spec), raw_object_of(dns, dns["spec"], namespace="other")
    )
    code, out, _ = run(TABLE, "--dry-run", cluster=there)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "LvsRealServerPool shop/vip-192-168-4-15-tcp-80: unchanged"
    assert lines[1] == "LvsVirtualService shop/vip-192-168-4-15-tcp-80: would be changed"
    assert lines[2:4] == ["--- in the cluster", "+++ from the file"]
    assert [line for line in lines[4:] if line.startswith(("+", "-"))] == ["-scheduler: wlc", "+scheduler: wrr"]
    assert lines[-1] == "LvsVirtualService shop/vip-192-168-4-15-udp-53: would be created"
    code, out, said = run(TABLE + LOSSY, "--dry-run", "-n", "other", cluster=there)
    assert (code, out.splitlines()[-1]) == (1, "LvsVirtualService other/vip-192-168-4-15-udp-53: unchanged")
    assert said.rstrip().splitlines()[-1].startswith("error: line 10: ")


def raw_object_of(document: dict[str, Any], spec: dict[str, Any], *, namespace: str = "shop") -> dict[str, Any]:
    """As a cluster hands it out."""
    made: dict[str, Any] = {**document, "spec": spec}
    made["metadata"] = {**document["metadata"], "namespace": namespace, "uid": "u", "generation": 3}
    return made


def test_who_reads_the_beginning_only_sees_no_traceback() -> None:
    services = [f"-A -t 10.0.{n // 250}.{n % 250 + 1}:80 -s rr" for n in range(800)]
    lines = [line for one in services for line in (one, one.replace("-A", "-a").replace("-s rr", "-r 10.9.0.1:80 -g"))]
    command = [sys.executable, "-m", "lvs_cli", "import"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdin is not None
        assert reading.stdout is not None
        assert reading.stderr is not None
        reading.stdin.write("\n".join(lines).encode())
        reading.stdin.close()
        assert reading.stdout.readline() == b"apiVersion: lvs-operator.io/v1alpha1\n"
        reading.stdout.close()
        assert (reading.stderr.read(), reading.wait(60)) == (b"", 141)
