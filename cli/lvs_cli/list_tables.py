"""`kubectl lvs list`: what the directors' kernels hold and count, and their connections, as ipvsadm lists them."""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import yaml

from lvs_api.director_table import CONNECTIONS_PATH, TABLE_PATH, DirectorConnections, DirectorTable
from lvs_cli.cluster import Cluster
from lvs_cli.connection_form import connection_listing, sorted_connections
from lvs_cli.director_tables import Way, ask_directors
from lvs_cli.errors import CliError
from lvs_cli.ipvsadm_form import Form, Order, Style, listing, sort_real_servers, sort_services
from lvs_cli.output import Said
from lvs_cli.way_options import add_way_options, way_of

_FORMS: Final = {
    Form.STATS: "connections, packets and bytes so far",
    Form.RATE: "connections, packets and bytes a second, as the kernel estimates",
    Form.THRESHOLDS: "upper and lower threshold of each real server",
    Form.PERSISTENT_CONN: "persistence templates of each real server",
    Form.TIMEOUT: "for how many seconds idle connections are kept",
    Form.DAEMON: "sync daemons that run",
}
_CUT: Final = "it has more connections than the {} that its agent tells"
_NARROW: Final = "its kernel counts connections and packets in 32 bits: they begin anew at 4294967296"


def add_list_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    forms = command.add_mutually_exclusive_group()
    for form, text in _FORMS.items():
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, default=Form.PLAIN, help=text)
    forms.add_argument(
        "-c",
        "--connections",
        "--connection",
        action="store_true",
        help="connections, one by one; of very many the first",
    )
    command.add_argument("--exact", action="store_true", help="every digit, with --stats and --rate; else K, M, G, T")
    command.add_argument(
        "--sort",
        choices=[order.value for order in Order],
        default=Order.ADDRESS.value,
        metavar="BY",
        help="address, name (the objects'), connections (most first) or none (%(default)s)",
    )
    command.add_argument(
        "-o",
        "--output",
        choices=("wide", "json", "yaml"),
        help="wide: with the objects' names; json and yaml: everything at once",
    )
    command.add_argument(
        "--director",
        action="append",
        default=[],
        metavar="NODE",
        help="only this one; may be repeated; without it, and with --metrics-url, those that are named there",
    )
    add_way_options(command)


def list_tables(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """What was asked for, of every director that could be reached."""
    if options.output in {"json", "yaml"} and (options.form is not Form.PLAIN or options.exact):
        raise CliError(f"-o {options.output} tells everything, every digit: leave out --{_superfluous(options)}")
    way = way_of(options, options.director)
    if options.connections:
        _refuse_for_connections(options)
        return _connections(way, open_cluster, options)
    told = ask_directors(way, open_cluster, TABLE_PATH, DirectorTable)
    notes = [f"{table.node}: {_NARROW}" for table in told.pages if not table.wide_counters]
    return Said(text=_shown(told.pages, options), notes=tuple(notes), failures=told.failures)


def _connections(way: Way, open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """Those of every director that could be reached."""
    told = ask_directors(way, open_cluster, CONNECTIONS_PATH, DirectorConnections)
    pages = told.pages if options.sort == Order.NONE else [sorted_connections(page) for page in told.pages]
    notes = tuple(f"{page.node}: {_CUT.format(len(page.connections))}" for page in pages if page.cut)
    if options.output in {"json", "yaml"}:
        text = _everything([page.model_dump(mode="json", by_alias=True) for page in pages], options)
    else:
        text = _under_names([(page.node, connection_listing(page)) for page in pages], options)
    return Said(text=text, notes=notes, failures=told.failures)


def _refuse_for_connections(options: argparse.Namespace) -> None:
    """Raises CliError for an option that says nothing of connections."""
    if options.exact or options.output == "wide" or options.sort in {Order.NAME, Order.CONNECTIONS}:
        raise CliError("--connections goes with --sort address or none, and -o json or yaml; leave out others")


def _everything(directors: list[dict[str, Any]], options: argparse.Namespace) -> str:
    if options.output == "yaml":
        return yaml.safe_dump({"directors": directors}, sort_keys=False).rstrip()
    return json.dumps({"directors": directors}, indent=2)


def _under_names(texts: Sequence[tuple[str, str]], options: argparse.Namespace) -> str:
    """Each director's under its name; that of one asked for alone without it."""
    if len(options.director) == 1:
        return "".join(text for _, text in texts)
    return "\n\n".join(f"{node}:\n{text}".rstrip() for node, text in texts)


def _shown(tables: Sequence[DirectorTable], options: argparse.Namespace) -> str:
    order = Order(options.sort)
    if options.output in {"json", "yaml"}:
        return _everything([_raw(table, order) for table in tables], options)
    style = Style(form=options.form, order=order, exact=options.exact, names=options.output == "wide")
    return _under_names([(table.node, listing(table, style)) for table in tables], options)


def _raw(table: DirectorTable, order: Order) -> dict[str, Any]:
    services = [
        service.model_copy(update={"real_servers": sort_real_servers(service.real_servers, order)})
        for service in sort_services(table.services, order)
    ]
    raw: dict[str, Any] = table.model_copy(update={"services": services}).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    return raw


def _superfluous(options: argparse.Namespace) -> str:
    return str(options.form) if options.form is not Form.PLAIN else "exact"
