"""`kubectl lvs list --connections`: as ipvsadm -Lnc lists them.

That they are the same as ipvsadm lists beside it: e2e/scenarios/test_counted_traffic.py.
"""

import json
from collections.abc import Iterator

import pytest
import yaml
from answering import Pages, answering

from lvs_api.director_table import DirectorConnections, TableConnection
from lvs_cli.__main__ import main


def connection(client: int, **changes: object) -> TableConnection:
    made = TableConnection(
        protocol="TCP",
        client_address="192.168.4.1",
        client_port=client,
        virtual_address="192.168.4.15",
        virtual_port=80,
        address="192.168.4.100",
        port=80,
        state="ESTABLISHED",
        expires_seconds=899,
    )
    return made.model_copy(update=changes)


SIX = {"client_address": "2001:db8::1", "virtual_address": "2001:db8:4::15", "address": "2001:db8:4::100"}
TOLD = DirectorConnections(
    node="director-1",
    connections=[
        connection(5000, **SIX, protocol="UDP", state="UDP", expires_seconds=3661),
        connection(40002, address="192.168.4.101"),
        connection(40001),
        connection(0, state="NONE", expires_seconds=5),
    ],
)
HEAD = ["IPVS connection entries", "pro expire state       source             virtual            destination"]
LINES = [
    "TCP 00:05  NONE        192.168.4.1:0      192.168.4.15:80    192.168.4.100:80",
    "TCP 14:59  ESTABLISHED 192.168.4.1:40001  192.168.4.15:80    192.168.4.100:80",
    "TCP 14:59  ESTABLISHED 192.168.4.1:40002  192.168.4.15:80    192.168.4.101:80",
    "UDP 61:01  UDP         [2001:db8::1]:5000 [2001:db8:4::15]:80 [2001:db8:4::100]:80",
]


@pytest.fixture
def pages() -> Iterator[tuple[Pages, str]]:
    """The pages of an agent, and where it is."""
    found: Pages = {"/v1/connections": (200, TOLD.model_dump_json(by_alias=True).encode())}
    with answering(found) as url:
        yield found, f"--metrics-url=director-1={url}"


def test_the_listing_is_sorted(pages: tuple[Pages, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-c", pages[1]]) == 0
    assert capsys.readouterr() == ("\n".join(["director-1:", *HEAD, *LINES, ""]), "")
    assert main(["list", "--connections", "--sort", "none", "--director", "director-1", pages[1]]) == 0
    assert capsys.readouterr().out.splitlines() == [*HEAD, LINES[3], LINES[2], LINES[1], LINES[0]]


def test_json_and_yaml(pages: tuple[Pages, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-c", "-o", "json", "--sort", "none", pages[1]]) == 0
    (found,) = json.loads(capsys.readouterr().out)["directors"]
    assert DirectorConnections.model_validate(found) == TOLD
    assert main(["list", "-c", "-o", "yaml", "--sort", "none", pages[1]]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == {"directors": [found]}


def test_what_was_cut_is_noted(pages: tuple[Pages, str], capsys: pytest.CaptureFixture[str]) -> None:
    cut = TOLD.model_copy(update={"cut": True})
    pages[0]["/v1/connections"] = (200, cut.model_dump_json(by_alias=True).encode())
    assert main(["list", "-c", pages[1]]) == 0
    assert capsys.readouterr().err == "note: director-1: it has more connections than the 4 that its agent tells\n"


def test_an_agent_of_before_is_named(pages: tuple[Pages, str], capsys: pytest.CaptureFixture[str]) -> None:
    pages[0].clear()
    assert main(["list", "-c", pages[1]]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: director-1: ")
    assert "says 404: not found" in said.err


@pytest.mark.parametrize("words", [["--exact"], ["-o", "wide"], ["--sort", "name"], ["--sort", "connections"]])
def test_what_says_nothing_of_connections_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-c", *words]) == 1
    assert capsys.readouterr().err.startswith("error: --connections goes with --sort address or none")
