"""Settings of the operator: flags, each with an environment variable of the same name."""

import argparse
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_operator.errors import SettingsError

ENVIRONMENT_PREFIX: Final = "LVS_OPERATOR_"
DAEMONSET_VARIABLE: Final = "LVS_AGENT_DAEMONSET_FILE"
REQUIRE_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}REQUIRE_ADDRESS_POOL"
SERVICE_ACCOUNT_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
MIN_PORT, MAX_PORT = 0, 65535
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listen:
    """Where metrics and health are served."""

    host: str
    """Empty: every address of both families."""
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseTimes:
    """Seconds that rule the election (KEP-589 has the same three)."""

    duration: float = 15.0
    """A Lease that nobody renewed for so long may be taken over."""
    write_for: float = 10.0
    """Writes are allowed for so long after a renewal was sent; less than `duration`."""
    retry: float = 4.0
    """Between renewals, and between looks at another's Lease."""
    retry_failed: float = 1.0
    """After a renewal or look that got no answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that an operator is started with."""

    namespace: str
    """Where the Lease and the agents' DaemonSet are."""
    identity: str
    """Who this replica is, in the Lease; unique."""
    kubeconfig: Path | None
    """None: the pod's ServiceAccount."""
    listen: Listen
    agent_daemonset_file: Path | None
    """The agents' DaemonSet; None: agents are started by something else."""
    check_seconds: float
    """Between comparisons of the view with lists from the API server."""
    count_seconds: float
    """Least time between writes of one service's counts."""
    require_address_pool: bool
    """Nothing is permitted while there is no LvsAddressPool."""
    log_level: str
    lease: LeaseTimes = LeaseTimes()


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read flags, then variables, then defaults; `--help` prints and leaves. Raises SettingsError."""
    found = _parser(environment).parse_args(arguments)
    check_seconds = _seconds(found.check_seconds, "--check-seconds")
    return Settings(
        namespace=found.namespace or _own_namespace(),
        identity=found.identity or f"{socket.gethostname()}_{uuid.uuid4()}",
        kubeconfig=Path(found.kubeconfig) if found.kubeconfig else None,
        listen=_listen(found.listen),
        agent_daemonset_file=Path(found.agent_daemonset_file) if found.agent_daemonset_file else None,
        check_seconds=check_seconds,
        count_seconds=_seconds(found.count_seconds, "--count-seconds"),
        require_address_pool=found.require_address_pool or _truth(REQUIRE_VARIABLE, environment),
        log_level=_level(found.log_level),
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lvs-operator", description="Makes LvsVirtualServices real.")

    def add(flag: str, default: str | None, text: str, variable: str | None = None) -> None:
        name = variable or ENVIRONMENT_PREFIX + flag.removeprefix("--").replace("-", "_").upper()
        parser.add_argument(flag, default=environment.get(name, default), help=f"{text} [{name}]")

    add("--namespace", None, "where the Lease and the agents' DaemonSet are; default: the pod's own")
    add("--identity", None, "this replica's name in the Lease; default: host name and a random part")
    add("--kubeconfig", None, "file to reach the API server with; default: the pod's ServiceAccount", "KUBECONFIG")
    add("--listen", ":8080", "address:port of /metrics, /healthz and /readyz; without address every one")
    add("--agent-daemonset-file", None, "manifest of the agents' DaemonSet; default: none is kept", DAEMONSET_VARIABLE)
    add("--check-seconds", "180", "seconds between comparisons of the view with lists from the API server")
    add("--count-seconds", "5", "least seconds between writes of one service's counts")
    parser.add_argument(
        "--require-address-pool",
        action="store_true",
        help=f"permit nothing while there is no LvsAddressPool [{REQUIRE_VARIABLE}=true]",
    )
    parser.add_argument(
        "--log-level",
        default=environment.get(f"{ENVIRONMENT_PREFIX}LOG_LEVEL", "INFO"),
        choices=LOG_LEVELS,
        help=f"[{ENVIRONMENT_PREFIX}LOG_LEVEL]",
    )
    return parser


def _own_namespace() -> str:
    if SERVICE_ACCOUNT_NAMESPACE.exists():
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
    return DEFAULT_NAMESPACE


def _listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not MIN_PORT <= int(port) <= MAX_PORT:
        raise SettingsError(f"--listen: {text!r} is not address:port, such as 127.0.0.1:8080, [::1]:8080 or :8080")
    return Listen(host=host.strip("[]"), port=int(port))


def _level(text: str) -> str:
    if text not in LOG_LEVELS:  # argparse looks at flags only, and not at what the environment says
        raise SettingsError(f"{ENVIRONMENT_PREFIX}LOG_LEVEL: {text!r} is none of {', '.join(LOG_LEVELS)}")
    return text


def _truth(variable: str, environment: Mapping[str, str]) -> bool:
    said = environment.get(variable) or "false"
    if said not in {"true", "false"}:
        raise SettingsError(f"{variable}: {said!r} is neither true nor false")
    return said == "true"


def _seconds(text: str, flag: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{flag}: {text!r} is not a number of seconds") from None
    if not value > 0:
        raise SettingsError(f"{flag}: must be more than 0")
    return value


def from_process(arguments: Sequence[str]) -> Settings:
    """The settings of this very process."""
    return read_settings(arguments, os.environ)
