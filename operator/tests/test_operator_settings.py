"""Flags and variables of the operator."""

from pathlib import Path

import pytest

from lvs_operator.errors import SettingsError
from lvs_operator.settings import Listen, read_settings


def test_defaults() -> None:
    settings = read_settings([], {})
    assert settings.namespace == "lvs-system"
    assert settings.kubeconfig is None
    assert settings.agent_daemonset_file is None
    assert settings.listen == Listen(host="", port=8080)
    assert settings.check_seconds == 180
    assert settings.require_address_pool is False
    assert settings.lease.write_for < settings.lease.duration


def test_each_process_has_an_identity_of_its_own() -> None:
    assert read_settings([], {}).identity != read_settings([], {}).identity


def test_flags_win_over_variables() -> None:
    environment = {
        "LVS_OPERATOR_NAMESPACE": "from-variable",
        "LVS_OPERATOR_CHECK_SECONDS": "7",
        "KUBECONFIG": "/k",
        "LVS_AGENT_DAEMONSET_FILE": "/d",
    }
    settings = read_settings(["--namespace=from-flag"], environment)
    assert settings.namespace == "from-flag"
    assert settings.check_seconds == 7
    assert settings.kubeconfig == Path("/k")
    assert settings.agent_daemonset_file == Path("/d")


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:8080", Listen(host="127.0.0.1", port=8080)),
        ("[::1]:0", Listen(host="::1", port=0)),
        (":9", Listen(host="", port=9)),
    ],
)
def test_listen(text: str, listen: Listen) -> None:
    assert read_settings([f"--listen={text}"], {}).listen == listen


def test_a_level_of_the_log_that_the_environment_misspells_is_named() -> None:
    assert read_settings([], {"LVS_OPERATOR_LOG_LEVEL": "DEBUG"}).log_level == "DEBUG"
    with pytest.raises(SettingsError, match="LVS_OPERATOR_LOG_LEVEL: 'info' is none of DEBUG, INFO, WARNING, ERROR"):
        read_settings([], {"LVS_OPERATOR_LOG_LEVEL": "info"})


@pytest.mark.parametrize(
    ("arguments", "said", "required"),
    [
        (["--require-address-pool"], "", True),
        (["--require-address-pool"], "false", True),
        ([], "true", True),
        ([], "false", False),
        ([], "", False),
    ],
)
def test_a_pool_is_required_by_flag_or_variable(arguments: list[str], said: str, required: bool) -> None:
    settings = read_settings(arguments, {"LVS_OPERATOR_REQUIRE_ADDRESS_POOL": said})
    assert settings.require_address_pool is required


def test_a_variable_that_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(SettingsError, match="LVS_OPERATOR_REQUIRE_ADDRESS_POOL: 'yes' is neither true nor false"):
        read_settings([], {"LVS_OPERATOR_REQUIRE_ADDRESS_POOL": "yes"})


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--listen=8080", "--listen"),
        ("--listen=host:", "--listen"),
        ("--listen=host:70000", "--listen"),
        ("--check-seconds=soon", "--check-seconds"),
        ("--check-seconds=0", "--check-seconds"),
        ("--count-seconds=-1", "--count-seconds"),
    ],
)
def test_a_wrong_setting_is_named(flag: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read_settings([flag], {})
