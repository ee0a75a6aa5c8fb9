"""`kubectl lvs import`: a table as ipvsadm saves it, as objects that mean the same.

Nothing is written to a cluster: the objects are printed, for `kubectl apply`, or compared with what is there.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from lvs_api.api_group import DEFAULT_DIRECTOR_GROUP
from lvs_api.network_types import LabelledName, NamespaceName
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.export import FORMAT
from lvs_cli.object_diff import diff_documents, documents_text
from lvs_cli.output import Said
from lvs_cli.saved_table import SavedTable, read_saved_table
from lvs_cli.table_objects import Target, objects_of
from lvs_core.plan import MarkKey

_STANDARD_INPUT: Final = "-"
_NOTHING_PRINTED: Final = "nothing is printed, for that would be lost: change the lines, or accept it with --allow-loss"
_UNCHECKED: Final = "no real server is checked until its LvsRealServerPool has a healthCheck"
_THRESHOLDS: Final = (
    "no real server has thresholds, but ipvsadm -S leaves them out: where `ipvsadm -Ln --thresholds` shows some, add "
    "them to the file with -x and -y"
)
_MARKS: Final = (
    "what sets firewall marks on packets, and brings these to the director, stays yours: the table does not say, and "
    "nothing is written for it"
)


def add_import_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument(
        "--format", choices=[FORMAT], default=FORMAT, help="what ipvsadm -S -n writes and ipvsadm -R reads"
    )
    command.add_argument(
        "-f",
        "--filename",
        default=_STANDARD_INPUT,
        metavar="FILE",
        help="such as /etc/sysconfig/ipvsadm; standard input when absent or -",
    )
    command.add_argument(
        "-n",
        "--namespace",
        type=_named(NamespaceName, "a namespace"),
        help="of the objects; when absent none is written into them, and apply takes that of the kubeconfig's context",
    )
    command.add_argument(
        "--director-group",
        type=_named(LabelledName, "a LvsDirectorGroup"),
        default=DEFAULT_DIRECTOR_GROUP,
        metavar="NAME",
        help="whose directors serve it (%(default)s)",
    )
    command.add_argument(
        "--paused",
        action="store_true",
        help="with spec.paused, so that agents change nothing of a table that runs until that is taken out",
    )
    command.add_argument(
        "--allow-loss", action="store_true", help="print the objects though they can not say all of the table"
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="in place of the objects, print what an apply of them would create and change in the cluster",
    )


def import_table(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """The objects, or what they would change, and whatever they can not say."""
    table = read_saved_table(_read(options.filename))
    if table.faults:
        return Said(text="", failures=table.faults)
    target = Target(director_group=options.director_group, namespace=options.namespace, paused=options.paused)
    made = objects_of(table, target)
    if not made.documents and not made.losses:
        raise CliError("there is no virtual service in it: expected lines as `ipvsadm -S -n` writes them")
    notes = (*made.notes, *_notes(table))
    if options.dry_run:
        cluster = open_cluster()
        text = diff_documents(cluster, made.documents, options.namespace or cluster.namespace)
    else:
        text = documents_text(made.documents)
    if options.allow_loss or not made.losses:
        return Said(text=text if made.documents else "", notes=(*made.losses, *notes))
    if options.dry_run:
        return Said(text=text, notes=notes, failures=made.losses)
    return Said(text="", notes=notes, failures=(*made.losses, _NOTHING_PRINTED))


def _read(name: str) -> str:
    try:
        if name != _STANDARD_INPUT:
            return Path(name).read_text(encoding="utf-8")
        if sys.stdin.isatty():
            raise CliError("expected the table on standard input (`ipvsadm -S -n | kubectl lvs import`), or -f FILE")
        return sys.stdin.read()
    except OSError as error:
        raise CliError(f"{name} can not be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{name} is no text: {error}") from error


def _notes(table: SavedTable) -> Iterator[str]:
    servers = [server for one in table.services for server in one.servers]
    if servers:
        yield _UNCHECKED
    if servers and not any(server.upper_threshold for server in servers):
        yield _THRESHOLDS
    if any(isinstance(one.key, MarkKey) for one in table.services):
        yield _MARKS


def _named(names: Any, what: str) -> Callable[[str], str]:  # noqa: ANN401 -- an annotated type
    """A check of an option's value."""
    adapter: TypeAdapter[str] = TypeAdapter(names)

    def check(text: str) -> str:
        try:
            return adapter.validate_python(text)
        except ValidationError:
            raise argparse.ArgumentTypeError(f"{text} can not be the name of {what}") from None

    return check
