"""What the command line says, and what is wrong with it."""

import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from lvs_agent.errors import InvalidSettings
from lvs_agent.settings import RESOLV_CONFS, Endpoint, parse_settings

LISTS = ("REFUSE_RANGES", "RESOLV_CONFS")


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "REMOVAL_BRAKE",
        "COUNTED_REAL_SERVERS",
        "NODE_NAME",
        "NAMESPACE",
        "KUBECONFIG",
        "STATE_DIR",
        "METRICS_ADDRESS",
        "HEALTH_ADDRESS",
        "WORD_ADDRESS",
        *LISTS,
    ):
        monkeypatch.delenv(f"LVS_AGENT_{name}", raising=False)
    settings = parse_settings(["run", "--node-name", "n"])
    assert (settings.verb, settings.node_name, settings.namespace) == ("run", "n", "lvs-system")
    assert settings.state_dir == Path("/var/lib/lvs-agent")
    assert settings.removal_brake == 0.5
    assert settings.counted_real_servers == 1000
    assert (settings.metrics, settings.health) == (None, Endpoint(host="127.0.0.1", port=9461))
    assert settings.word == Endpoint(host="", port=9462)
    assert (settings.refused_ranges, settings.resolv_confs) == ((), RESOLV_CONFS)


def test_the_environment_gives_defaults_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVS_AGENT_NODE_NAME", "from-environment")
    monkeypatch.setenv("LVS_AGENT_METRICS_ADDRESS", "[::1]:9462")
    monkeypatch.setenv("LVS_AGENT_HEALTH_ADDRESS", "")
    monkeypatch.setenv("LVS_AGENT_WORD_ADDRESS", "")
    monkeypatch.setenv("LVS_AGENT_REMOVAL_BRAKE", "1")
    monkeypatch.setenv("LVS_AGENT_COUNTED_REAL_SERVERS", "0")
    settings = parse_settings(["plan", "--state-dir", "/x"])
    assert (settings.removal_brake, settings.counted_real_servers) == (1.0, 0)
    assert (settings.node_name, settings.state_dir) == ("from-environment", Path("/x"))
    assert (settings.metrics, settings.health) == (Endpoint(host="::1", port=9462), None)
    assert settings.word is None
    assert list(map(str, (settings.metrics, Endpoint(host="", port=1)))) == ["[::1]:9462", ":1"]
    assert parse_settings(["run", "--node-name", "n"]).node_name == "n"


def test_what_may_be_repeated_is_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVS_AGENT_REFUSE_RANGES", "10.0.0.0/8,fd00::/8")
    monkeypatch.setenv("LVS_AGENT_RESOLV_CONFS", "/a,/b")
    settings = parse_settings(["run"])
    assert settings.refused_ranges == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.resolv_confs == (Path("/a"), Path("/b"))
    flags = ["--refuse-range", "10.1.0.0/16", "--refuse-range", "10.2.0.0/16", "--resolv-conf", "/c"]
    settings = parse_settings(["run", *flags])
    assert settings.refused_ranges == (ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"))
    assert settings.resolv_confs == (Path("/c"),)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--metrics-address", "9462"], "--metrics-address 9462: expected HOST:PORT"),
        (["run", "--word-address", "10.0.0.1"], "--word-address 10.0.0.1: expected HOST:PORT"),
        (["run", "--health-address", "localhost:0"], "--health-address localhost:0: expected HOST:PORT"),
        (["run", "--removal-brake", "50%"], "--removal-brake 50%: expected a number from 0 to 1"),
        (["run", "--removal-brake", "1.5"], "--removal-brake 1.5: expected a number from 0 to 1"),
        (["run", "--counted-real-servers", "-1"], "--counted-real-servers -1: expected a number from 0"),
        (["run", "--manifests", "/nowhere"], "--manifests /nowhere: there is no such directory"),
        (["run", "--manifests", "/", "--kubeconfig", "/x"], "--manifests and --kubeconfig"),
        (["plan", "--manifests", "/", "--node-name", "n"], "--manifests and --node-name"),
        (["run", "--manifests", "/", "--namespace", "x"], "--manifests and --namespace"),
        (["run", "--manifests", "/", "--removal-brake", "0"], "--manifests and --removal-brake"),
        (["run", "--manifests", "/", "--word-address", ":9462"], "--manifests and --word-address"),
        (["run", "--refuse-range", "10.0.0.1/8"], "--refuse-range 10.0.0.1/8: 10.0.0.1/8 has host bits set"),
        (["run", "--node-name", ""], "--node-name is empty"),
        (["run", "--unknown"], "unrecognized arguments: --unknown"),
        ([], "the following arguments are required: verb"),
        (["start"], "invalid choice: 'start'"),
    ],
)
def test_mistakes_are_named(arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(arguments)
    assert said in str(caught.value)


def test_beside_manifests_a_machine_may_go_without_what_needs_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVS_AGENT_NODE_NAME", "")
    settings = parse_settings(["run", "--manifests", "/", "--word-address", ""])
    assert (settings.manifests, settings.word) == (Path("/"), None)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NODE_NAME", "n", "--manifests and --node-name (or LVS_AGENT_NODE_NAME) exclude each other"),
        ("KUBECONFIG", "/x", "--manifests and --kubeconfig (or LVS_AGENT_KUBECONFIG) exclude each other"),
        ("LOG_LEVEL", "verbose", "LVS_AGENT_LOG_LEVEL verbose: expected debug, info, warning, error"),
        ("SHOW_CONNECTIONS", "yes", "LVS_AGENT_SHOW_CONNECTIONS yes: expected true or false"),
    ],
)
def test_mistakes_in_the_environment_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"LVS_AGENT_{name}", value)
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(["run", "--manifests", "/"])
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("value", "level"), [("debug", "debug"), ("WARNING", "warning"), ("", "info")])
def test_the_environment_names_a_level_of_the_log_in_any_case(
    monkeypatch: pytest.MonkeyPatch, value: str, level: str
) -> None:
    monkeypatch.setenv("LVS_AGENT_LOG_LEVEL", value)
    assert parse_settings(["run"]).log_level == level


@pytest.mark.parametrize(("value", "shows"), [("true", True), ("false", False), ("", False)])
def test_connections_are_shown_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, value: str, *, shows: bool
) -> None:
    monkeypatch.setenv("LVS_AGENT_SHOW_CONNECTIONS", value)
    assert parse_settings(["run"]).shows_connections == shows
    assert parse_settings(["run", "--show-connections"]).shows_connections


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--nonsense"], "unrecognized arguments"),
        (["plan", "--kubeconfig", "/nowhere"], "kubeconfig /nowhere"),
        (["plan"], "no --kubeconfig, and not in a Pod"),
    ],
)
def test_a_users_mistake_is_one_line_without_a_traceback(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lvs_agent", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("lvs-agent: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
