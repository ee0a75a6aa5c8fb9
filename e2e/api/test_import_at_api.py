"""What `kubectl lvs import` and `adopt` print is taken by a real API server, and found unchanged afterwards."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from lvs_api.director_table import TABLE_PATH, DirectorTable
from lvs_api.kinds import ALL_KINDS
from lvs_api.objects import parse_object
from lvs_api.testing import lvs_node, service_slice, slice_member
from lvs_cli.saved_table import read_saved_table
from lvs_cli.table_objects import Target, objects_of
from lvs_lab.host_commands import Completed, run
from support.api_server import ApiServer
from support.saved_tables import DAMAGES, Block, Damage, lines_of, tables
from support.told_tables import told_services, told_table

KINDS = {kind.name: kind for kind in ALL_KINDS}
TABLE = """\
-A -t 192.168.4.15:80 -s wrr -p 60 -M 255.255.255.0
-a -t 192.168.4.15:80 -r 192.168.4.100:8080 -m -w 1
-A -t [2001:db8::]:443 -s sh -b sh-fallback,sh-port
-a -t [2001:db8::]:443 -r [2001:db8::100]:443 -g -w 1 -x 100 -y 50
-A -f 10 -6 -s wlc -p 300
-a -f 10 -6 -r [2001:db8::100]:0 -i -w 1
"""


def taken(server: ApiServer, lines: list[str]) -> int:
    """How many objects a table becomes; each is stored as it was meant."""
    objects = objects_of(read_saved_table("\n".join(lines)), Target(director_group="default", namespace="default"))
    for raw in objects.documents:
        stored = server.create(raw, dry_run=True).raise_for_status()
        kind = KINDS[raw["kind"]]
        assert parse_object(kind, stored).spec == parse_object(kind, raw).spec
    return len(objects.documents)


@settings(max_examples=40)
@given(table=tables())
def test_every_table_is_taken(api_server: ApiServer, table: list[Block]) -> None:
    assert taken(api_server, lines_of(table)) >= 2


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: " ".join(damage.lines))
def test_what_is_left_of_a_table_is_taken(api_server: ApiServer, damage: Damage) -> None:
    assert taken(api_server, list(damage.lines)) == (2 if damage.kept else 0)


def kubectl_lvs_adopt(server: ApiServer, url: str, *words: str) -> Completed:
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    command = [sys.executable, "-m", "lvs_cli", "adopt", "adopter", "--metrics-url", f"adopter={url}", *words]
    return run(command, env=environment)


@contextmanager
def telling(table: DirectorTable, directory: Path) -> Iterator[str]:
    """The page of an agent that tells this table."""
    page = directory / TABLE_PATH.strip("/")
    page.parent.mkdir()
    page.write_text(table.model_dump_json(by_alias=True), encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubectl_lvs(server: ApiServer, *words: str) -> Completed:
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    return run([sys.executable, "-m", "lvs_cli", "import", *words], env=environment, stdin=TABLE)


def verdicts(text: str) -> list[str]:
    return [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Lvs")]


def test_what_is_printed_is_applied_and_found_again(api_server: ApiServer) -> None:
    before = kubectl_lvs(api_server, "--dry-run")
    assert verdicts(before.stdout) == ["would be created"] * 6
    printed = kubectl_lvs(api_server).stdout
    done = api_server.kubectl("apply", "--filename=-", stdin=printed)
    assert (done.returncode, done.stdout.count("created")) == (0, 6), done.stderr
    assert verdicts(kubectl_lvs(api_server, "--dry-run").stdout) == ["unchanged"] * 6
    again = api_server.kubectl("apply", "--filename=-", stdin=printed)
    assert again.stdout.count("unchanged") == 6, again.stdout
    (first, *_) = (raw for raw in yaml.safe_load_all(printed) if raw["kind"] == "LvsVirtualService")
    edited = api_server.kubectl(
        "patch", "lvsvs", first["metadata"]["name"], "--type=merge", '--patch={"spec":{"scheduler":"lc"}}'
    )
    assert edited.returncode == 0, edited.stderr
    after = kubectl_lvs(api_server, "--dry-run").stdout
    assert verdicts(after).count("would be changed") == 1
    assert {"-scheduler: lc", "+scheduler: wrr"} <= set(after.splitlines())
    assert api_server.kubectl("delete", "--filename=-", stdin=printed).returncode == 0


def test_what_a_director_has_is_adopted_once(api_server: ApiServer, tmp_path: Path) -> None:
    """No operator runs here: the slice that it would make stands for it."""
    node = lvs_node("adopter") | {"spec": {"directorGroups": ["default"]}}
    api_server.create(node).raise_for_status()
    with telling(told_table(told_services(TABLE), "adopter"), tmp_path) as url:
        printed = kubectl_lvs_adopt(api_server, url).stdout
        assert printed == kubectl_lvs(api_server).stdout
        done = api_server.kubectl("apply", "--filename=-", stdin=printed)
        assert (done.returncode, done.stdout.count("created")) == (0, 6), done.stderr
        # Not accepted yet: the same again, which changes nothing.
        assert kubectl_lvs_adopt(api_server, url).stdout == printed
        member = slice_member("rs1", "192.168.4.100", forwarding={"method": "Masquerade"}, port=8080)
        accepted = service_slice("vip-192-168-4-15", members=[member])
        persistence = {"timeoutSeconds": 60, "ipv4PrefixLength": 24, "ipv6PrefixLength": 128}
        accepted["spec"]["service"] |= {"addresses": ["192.168.4.15"], "persistence": persistence}
        api_server.create(accepted).raise_for_status()
        standing = kubectl_lvs_adopt(api_server, url, "--dry-run").stdout
        assert [line.split()[2:4] for line in standing.splitlines() if line.startswith("TCP 192.168.4.15:80 ")] == [
            ["becomes", "ours"]
        ]
        assert verdicts(standing) == ["unchanged"] * 4
        assert "192.168.4.15" not in kubectl_lvs_adopt(api_server, url).stdout
    for kind, name in (("lvsslice", accepted["metadata"]["name"]), ("lvsnode", "adopter")):
        assert api_server.kubectl("delete", kind, name).returncode == 0
    assert api_server.kubectl("delete", "--filename=-", stdin=printed).returncode == 0
