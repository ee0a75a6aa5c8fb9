"""What `kubectl lvs import` prints is taken by a real API server as it stands, and found unchanged afterwards."""

import os
import sys

import pytest
import yaml
from hypothesis import given, settings

from lvs_api.kinds import ALL_KINDS
from lvs_api.objects import parse_object
from lvs_cli.saved_table import read_saved_table
from lvs_cli.table_objects import Target, objects_of
from lvs_lab.host_commands import Completed, run
from support.api_server import ApiServer
from support.saved_tables import DAMAGES, Block, Damage, lines_of, tables

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
