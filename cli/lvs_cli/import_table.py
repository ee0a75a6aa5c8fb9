"""`kubectl lvs import`: a table as ipvsadm saves it, as objects that mean the same.

Nothing is written to a cluster: the objects are printed, for `kubectl apply`, or compared with what is there.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from lvs_api.api_group import DEFAULT_DIRECTOR_GROUP
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.export import FORMAT
from lvs_cli.object_diff import diff_documents
from lvs_cli.object_options import MARKS, UNCHECKED, add_object_options, said_of, said_of_dry_run
from lvs_cli.output import Said
from lvs_cli.saved_table import SavedTable, read_saved_table
from lvs_cli.table_objects import Target, objects_of
from lvs_core.plan import MarkKey

_STANDARD_INPUT: Final = "-"
_NOTHING_PRINTED: Final = "nothing is printed, for that would be lost: change the lines, or accept it with --allow-loss"
_THRESHOLDS: Final = (
    "no real server has thresholds, but ipvsadm -S leaves them out: where `ipvsadm -Ln --thresholds` shows some, add "
    "them to the file with -x and -y"
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
    add_object_options(command, f"whose directors serve it ({DEFAULT_DIRECTOR_GROUP})")


def import_table(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """The objects, or what they would change, and whatever they can not say."""
    table = read_saved_table(_read(options.filename))
    if table.faults:
        return Said(text="", failures=table.faults)
    group = options.director_group or DEFAULT_DIRECTOR_GROUP
    made = objects_of(table, Target(director_group=group, namespace=options.namespace, paused=options.paused))
    if not made.documents and not made.losses:
        raise CliError("there is no virtual service in it: expected lines as `ipvsadm -S -n` writes them")
    notes = (*made.notes, *_notes(table))
    if not options.dry_run:
        return said_of(made, notes, options, nothing_printed=_NOTHING_PRINTED)
    cluster = open_cluster()
    text = diff_documents(cluster, made.documents, options.namespace or cluster.namespace, "from the file")
    return said_of_dry_run(text, made, notes, options)


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
        yield UNCHECKED
    if servers and not any(server.upper_threshold for server in servers):
        yield _THRESHOLDS
    if any(isinstance(one.key, MarkKey) for one in table.services):
        yield MARKS
