"""What the command line and the environment say."""

import argparse
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final, NoReturn

from lvs_agent.decide.absence import DEFAULT_BRAKE
from lvs_agent.decide.refused_addresses import IPNetwork
from lvs_agent.errors import InvalidSettings
from lvs_api.api_group import DEFAULT_NAMESPACE

DEFAULT_STATE_DIR: Final = Path("/var/lib/lvs-agent")
DEFAULT_VRRP_DIR: Final = Path("/run/lvs-agent/vrrp")
"""Not kept over a reboot, as the addresses are not."""
RESOLV_CONFS: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second has the real name servers where the first names systemd-resolved on this machine."""
_MAX_PORT: Final = 65535
DEFAULT_COUNTED: Final = 1000
DEFAULT_WORD_ADDRESS: Final = ":9462"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to listen."""

    host: str
    """Empty: every address of both families."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run of the agent."""

    verb: str
    node_name: str
    namespace: str
    kubeconfig: Path | None
    manifests: Path | None
    state_dir: Path
    vrrp_dir: Path
    """Where agent and VRRP daemon speak to one another."""
    removal_brake: float
    """Share of the node's real servers."""
    metrics: Endpoint | None
    counted_real_servers: int
    """How many of them have rows of their own in the metrics."""
    shows_connections: bool
    """Whoever reaches the metrics may read which clients are connected."""
    health: Endpoint | None
    word: Endpoint | None
    """Where directors are told what this node carries, and the port at which this one asks others."""
    refused_ranges: tuple[IPNetwork, ...]
    resolv_confs: tuple[Path, ...]
    log_level: str


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidSettings(f"{message} (see {self.prog} --help)")


def parse_settings(arguments: Sequence[str]) -> Settings:
    """Read the arguments; the environment gives defaults. Raises InvalidSettings; --help ends the process."""
    read = _parser().parse_args(arguments)
    if read.manifests is not None:
        _refuse_what_needs_kubernetes(read)
        if not read.manifests.is_dir():
            raise InvalidSettings(f"--manifests {read.manifests}: there is no such directory")
    if read.node_name == "":
        raise InvalidSettings("--node-name is empty")
    return Settings(
        verb=read.verb,
        node_name=read.node_name or socket.gethostname(),
        namespace=read.namespace or DEFAULT_NAMESPACE,
        kubeconfig=read.kubeconfig,
        manifests=read.manifests,
        state_dir=read.state_dir,
        vrrp_dir=read.vrrp_dir,
        removal_brake=_share("--removal-brake", read.removal_brake or str(DEFAULT_BRAKE)),
        metrics=_endpoint("--metrics-address", read.metrics_address),
        counted_real_servers=_count("--counted-real-servers", read.counted_real_servers),
        shows_connections=read.show_connections or _truth("LVS_AGENT_SHOW_CONNECTIONS"),
        health=_endpoint("--health-address", read.health_address),
        word=_endpoint("--word-address", DEFAULT_WORD_ADDRESS if read.word_address is None else read.word_address),
        refused_ranges=tuple(map(_range, _given(read.refuse_range, "LVS_AGENT_REFUSE_RANGES"))),
        resolv_confs=tuple(map(Path, _given(read.resolv_conf, "LVS_AGENT_RESOLV_CONFS"))) or RESOLV_CONFS,
        log_level=_level(read.log_level),
    )


def _refuse_what_needs_kubernetes(read: argparse.Namespace) -> None:
    """What would count for nothing beside manifests: a machine is the Node that has one of its addresses."""
    for flag, value in (
        ("--node-name", read.node_name),
        ("--namespace", read.namespace),
        ("--kubeconfig", read.kubeconfig),
        ("--removal-brake", read.removal_brake),
        ("--word-address", read.word_address),
    ):
        if value:
            raise InvalidSettings(
                f"--manifests and {flag} (or {_variable(flag)}) exclude each other: {flag} is for agents with an API "
                "server"
            )


def _variable(flag: str) -> str:
    return "LVS_AGENT_" + flag.removeprefix("--").replace("-", "_").upper()


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--node-name",
        default=os.environ.get("LVS_AGENT_NODE_NAME") or None,
        help="name of this node's Node and LvsNode (LVS_AGENT_NODE_NAME; the host name)",
    )
    shared.add_argument(
        "--namespace",
        default=os.environ.get("LVS_AGENT_NAMESPACE") or None,
        help=f"namespace of this agent's Lease (LVS_AGENT_NAMESPACE; {DEFAULT_NAMESPACE})",
    )
    shared.add_argument(
        "--kubeconfig",
        type=Path,
        default=Path(os.environ["LVS_AGENT_KUBECONFIG"]) if os.environ.get("LVS_AGENT_KUBECONFIG") else None,
        help="how to reach the API server (LVS_AGENT_KUBECONFIG; the Pod's ServiceAccount)",
    )
    shared.add_argument("--manifests", type=Path, help="read the objects from this directory, without an API server")
    shared.add_argument(
        "--state-dir",
        type=Path,
        default=Path(os.environ.get("LVS_AGENT_STATE_DIR") or DEFAULT_STATE_DIR),
        help="ledger and last view (LVS_AGENT_STATE_DIR; %(default)s)",
    )
    shared.add_argument(
        "--vrrp-dir",
        type=Path,
        default=Path(os.environ.get("LVS_AGENT_VRRP_DIR") or DEFAULT_VRRP_DIR),
        help="where lvs-agent run and lvs-agent vrrp speak to one another; must not outlive a reboot "
        "(LVS_AGENT_VRRP_DIR; %(default)s)",
    )
    shared.add_argument(
        "--removal-brake",
        default=os.environ.get("LVS_AGENT_REMOVAL_BRAKE") or None,
        help="share of this node's real servers: when more than these vanish at once without a drain, the API server "
        f"is asked first (LVS_AGENT_REMOVAL_BRAKE; {DEFAULT_BRAKE})",
    )
    shared.add_argument(
        "--metrics-address",
        default=os.environ.get("LVS_AGENT_METRICS_ADDRESS", ""),
        help="HOST:PORT for Prometheus and kubectl lvs list, without HOST every address (LVS_AGENT_METRICS_ADDRESS; "
        "none)",
    )
    shared.add_argument(
        "--counted-real-servers",
        default=os.environ.get("LVS_AGENT_COUNTED_REAL_SERVERS") or str(DEFAULT_COUNTED),
        help="how many real servers have rows of their own in the metrics; beyond that, those of the largest virtual "
        "services are summed (LVS_AGENT_COUNTED_REAL_SERVERS; %(default)s)",
    )
    shared.add_argument(
        "--show-connections",
        action="store_true",
        help="at the address of the metrics tell for kubectl lvs list --connections which clients are connected; "
        "whoever reaches it may read that (LVS_AGENT_SHOW_CONNECTIONS=true)",
    )
    shared.add_argument(
        "--health-address",
        default=os.environ.get("LVS_AGENT_HEALTH_ADDRESS", "127.0.0.1:9461"),
        help="HOST:PORT for /healthz and /readyz, empty for none (LVS_AGENT_HEALTH_ADDRESS; %(default)s)",
    )
    shared.add_argument(
        "--word-address",
        default=os.environ.get("LVS_AGENT_WORD_ADDRESS"),
        help="HOST:PORT where directors ask which VIPs this node carries, and the port at which this one asks others; "
        f"without HOST every address, empty for neither (LVS_AGENT_WORD_ADDRESS; {DEFAULT_WORD_ADDRESS})",
    )
    shared.add_argument(
        "--refuse-range",
        action="append",
        metavar="CIDR",
        help="take no address out of this range; may be repeated (LVS_AGENT_REFUSE_RANGES, separated by commas)",
    )
    shared.add_argument(
        "--resolv-conf",
        action="append",
        metavar="FILE",
        help="take no name server's address that this file names; may be repeated (LVS_AGENT_RESOLV_CONFS, "
        f"separated by commas; {' and '.join(map(str, RESOLV_CONFS))})",
    )
    shared.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=os.environ.get("LVS_AGENT_LOG_LEVEL") or "info",
        help="(LVS_AGENT_LOG_LEVEL; %(default)s)",
    )
    parser = _Parser(prog="lvs-agent", description="Programs IPVS, addresses and sysctls of one node.")
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=_Parser)
    verbs.add_parser("run", parents=[shared], help="do what the objects say, until stopped; leaves the kernel as it is")
    verbs.add_parser(
        "vrrp",
        parents=[shared],
        help="run keepalived as lvs-agent run wants it, until stopped; then hand addresses over",
    )
    verbs.add_parser("plan", parents=[shared], help="print what this node has to do, and touch nothing")
    verbs.add_parser("cleanup", parents=[shared], help="remove from this node everything that the agent made")
    return parser


def _given(flags: list[str] | None, variable: str) -> list[str]:
    """What a flag that may be repeated says, else its environment variable."""
    return flags or [text for text in os.environ.get(variable, "").split(",") if text]


def _truth(variable: str) -> bool:
    """Of a flag that has no value."""
    said = os.environ.get(variable) or "false"
    if said not in {"true", "false"}:
        raise InvalidSettings(f"{variable} {said}: expected true or false")
    return said == "true"


def _level(text: str) -> str:
    """Of any case in the environment: the operator's variable has capital letters."""
    if text.lower() not in LOG_LEVELS:  # argparse looks at flags only, and not at what the environment says
        raise InvalidSettings(f"LVS_AGENT_LOG_LEVEL {text}: expected {', '.join(LOG_LEVELS)}")
    return text.lower()


def _range(text: str) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidSettings(f"--refuse-range {text}: {error}") from error


def _share(flag: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidSettings(f"{flag} {text}: expected a number from 0 to 1")
    return share


def _count(flag: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidSettings(f"{flag} {text}: expected a number from 0")
    return int(text)


def _endpoint(flag: str, text: str) -> Endpoint | None:
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) <= _MAX_PORT:
        raise InvalidSettings(f"{flag} {text}: expected HOST:PORT")
    return Endpoint(host=host.removeprefix("[").removesuffix("]"), port=int(port))
