"""`kubectl lvs status`: every service, who serves it, and why not."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime

from lvs_api.conditions import ConditionStatus, ConditionType, find_condition
from lvs_api.kinds import DIRECTOR_GROUP, NODE, SERVICE_SLICE, VIRTUAL_SERVICE
from lvs_api.virtual_service import DirectorState, LvsVirtualServiceStatus
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.output import Said, table
from lvs_cli.service_words import Service, addresses_of, ports_of, why
from lvs_cli.status_tree import Objects, show_tree

HEADER = ("NAMESPACE", "NAME", "ADDRESSES", "PORTS", "ACTIVE", "READY", "REAL SERVERS", "WHY")


def add_status_options(command: argparse.ArgumentParser) -> None:
    """The command's options, but for those that name namespaces."""
    command.add_argument("service", nargs="?", metavar="SERVICE", help="only this LvsVirtualService, as a tree")
    command.add_argument(
        "--tree", action="store_true", help="with its director group, directors and real servers, and the reasons"
    )


def status(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """Services as a table, or with everything behind them as a tree."""
    cluster = open_cluster()
    namespace = None if options.all_namespaces else options.namespace or cluster.namespace
    if options.service is not None or options.tree:
        return Said(text=_as_tree(cluster, namespace, options.service))
    return Said(text=show_status(cluster, namespace=namespace))


def _as_tree(cluster: Cluster, namespace: str | None, name: str | None) -> str:
    services = cluster.list(VIRTUAL_SERVICE, namespace=namespace)
    if name is not None:
        services = [one for one in services if one.metadata.name == name]
        if not services:
            where = f"namespace {namespace}" if namespace else "any namespace"
            raise CliError(f"there is no LvsVirtualService {name} in {where}")
    objects = Objects(
        services=services,
        groups=cluster.list(DIRECTOR_GROUP),
        nodes=cluster.list(NODE),
        slices=cluster.list(SERVICE_SLICE, namespace=namespace),
    )
    return show_tree(objects, every_group=namespace is None and name is None, now=datetime.now(UTC))


def show_status(cluster: Cluster, *, namespace: str | None) -> str:
    """The table; `namespace` None for all."""
    services = cluster.list(VIRTUAL_SERVICE, namespace=namespace)
    if not services:
        return f"No LvsVirtualServices in {f'namespace {namespace}' if namespace else 'any namespace'}."
    return table(HEADER, [row(service) for service in services])


def row(service: Service) -> tuple[str, ...]:
    """One service's line of the table."""
    status = service.status or LvsVirtualServiceStatus()
    active = [director.node for director in status.directors or () if director.state is DirectorState.ACTIVE]
    counts = status.real_servers
    ready = find_condition(status.conditions, ConditionType.READY)
    return (
        service.metadata.namespace or "",
        service.metadata.name,
        addresses_of(service),
        ports_of(service.spec),
        ",".join(active) or "-",
        ready.status.value if ready else ConditionStatus.UNKNOWN.value,
        f"{counts.ready}/{counts.total}" if counts else "-",
        why(service, status),
    )
