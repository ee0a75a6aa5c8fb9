"""`kubectl lvs zero`: lets counters begin at 0, by a request on each director's LvsNode, carried out once."""

import argparse
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from lvs_api.api_group import ANNOTATION_ZERO
from lvs_api.kinds import NODE, VIRTUAL_SERVICE
from lvs_api.lvs_node import CountersZeroed
from lvs_cli.cluster import Cluster
from lvs_cli.director_tables import known_directors
from lvs_cli.errors import CliError
from lvs_cli.output import Said

WAIT_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.5


def add_zero_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("service", nargs="?", metavar="SERVICE", help="a LvsVirtualService")
    which.add_argument("--all", action="store_true", help="every virtual service of every namespace")
    command.add_argument("-n", "--namespace", help="of SERVICE; that of the kubeconfig's context when absent")
    command.add_argument(
        "--director", action="append", default=[], metavar="NODE", help="only on this one; may be repeated"
    )


def zero(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """What each director did."""
    cluster = open_cluster()
    directors = known_directors(cluster, list(dict.fromkeys(options.director)))
    token = secrets.token_hex(8)
    if options.service is not None:
        namespace = options.namespace or cluster.namespace
        names = {one.metadata.name for one in cluster.list(VIRTUAL_SERVICE, namespace=namespace)}
        if options.service not in names:
            raise CliError(f"there is no LvsVirtualService {options.service} in namespace {namespace}")
        token = f"{token}/{namespace}/{options.service}"
    for director in directors:
        cluster.annotate(NODE, director, ANNOTATION_ZERO, token)
    done = _wait(cluster, directors, token)
    return Said(
        text="\n".join(f"{name}: counters begin at 0 of {_many(done[name].services)}" for name in sorted(done)),
        failures=tuple(
            f"{name}: its agent has not said that it did so within {WAIT_SECONDS:.0f} s; it does once it runs and sees "
            f"the annotation {ANNOTATION_ZERO} on its LvsNode"
            for name in directors
            if name not in done
        ),
    )


def _many(services: int) -> str:
    return "1 virtual service" if services == 1 else f"{services} virtual services"


def _wait(cluster: Cluster, directors: Sequence[str], token: str) -> dict[str, CountersZeroed]:
    """What directors answered to this request until all did, or the time is over."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        answers = {
            node.metadata.name: node.status.counters_zeroed
            for node in cluster.list(NODE)
            if node.metadata.name in directors and node.status is not None and node.status.counters_zeroed is not None
        }
        done = {name: answer for name, answer in answers.items() if answer.request == token}
        if len(done) == len(directors) or time.monotonic() >= end:
            return done
        time.sleep(_LOOK_SECONDS)  # a watch would need a right that reading the LvsNodes does not
