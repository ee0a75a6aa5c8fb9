"""Options that say how the agents of directors are reached."""

import argparse
from collections.abc import Sequence
from typing import Final

from lvs_api.api_group import DEFAULT_NAMESPACE
from lvs_cli.director_tables import DEFAULT_METRICS_PORT, Through, Way

_MAX_PORT: Final = 65535


def add_way_options(command: argparse.ArgumentParser) -> None:
    """The options."""
    command.add_argument(
        "--through",
        choices=[way.value for way in Through],
        default=Through.PODS.value,
        metavar="WAY",
        help="how the API server reaches the agents: pods, or nodes where they do not run in pods (%(default)s)",
    )
    command.add_argument(
        "--agent-namespace", default=DEFAULT_NAMESPACE, metavar="NS", help="of the agents' pods (%(default)s)"
    )
    command.add_argument(
        "--metrics-port",
        type=_port,
        default=DEFAULT_METRICS_PORT,
        metavar="PORT",
        help="where agents show metrics, see the chart's nodeAgent.metricsAddress (%(default)s)",
    )
    command.add_argument(
        "--metrics-url",
        type=_url,
        action="append",
        default=[],
        metavar="NODE=URL",
        help="ask this director's agent here, as in director-1=http://10.0.0.5:9460, and not through the API server; "
        "may be repeated",
    )


def way_of(options: argparse.Namespace, directors: Sequence[str]) -> Way:
    """How these directors are reached."""
    return Way(
        directors=list(dict.fromkeys(directors)),
        urls=dict(options.metrics_url),
        through=Through(options.through),
        agent_namespace=options.agent_namespace,
        metrics_port=options.metrics_port,
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port: expected 1 to {_MAX_PORT}")
    return int(text)


def _url(text: str) -> tuple[str, str]:
    node, equals, url = text.partition("=")
    if not node or not equals or not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text}: expected NODE=http://HOST:PORT")
    return node, url
