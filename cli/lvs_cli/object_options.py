"""Options of commands that turn a table into objects, and what these commands say of the objects."""

import argparse
from collections.abc import Callable
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from lvs_api.network_types import LabelledName, NamespaceName
from lvs_cli.object_diff import documents_text
from lvs_cli.output import Said
from lvs_cli.table_objects import TableObjects

UNCHECKED: Final = "no real server is checked until its LvsRealServerPool has a healthCheck"
MARKS: Final = (
    "what sets firewall marks on packets, and brings these to the director, stays yours: the table does not say, and "
    "nothing is written for it"
)


def add_object_options(command: argparse.ArgumentParser, group_help: str) -> None:
    """The options; whose directors serve the objects when none is named differs by command."""
    command.add_argument(
        "-n",
        "--namespace",
        type=_named(NamespaceName, "a namespace"),
        help="of the objects; when absent none is written into them, and apply takes that of the kubeconfig's context",
    )
    command.add_argument(
        "--director-group", type=_named(LabelledName, "a LvsDirectorGroup"), metavar="NAME", help=group_help
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


def said_of(made: TableObjects, notes: tuple[str, ...], options: argparse.Namespace, *, nothing_printed: str) -> Said:
    """The objects to print; nothing while something of the table is lost, unless that is accepted."""
    if options.allow_loss or not made.losses:
        return Said(text=documents_text(made.documents) if made.documents else "", notes=(*made.losses, *notes))
    return Said(text="", notes=notes, failures=(*made.losses, nothing_printed))


def said_of_dry_run(text: str, made: TableObjects, notes: tuple[str, ...], options: argparse.Namespace) -> Said:
    """What an apply would do, and what is lost."""
    if options.allow_loss:
        return Said(text=text, notes=(*made.losses, *notes))
    return Said(text=text, notes=notes, failures=made.losses)


def _named(names: Any, what: str) -> Callable[[str], str]:  # noqa: ANN401 -- an annotated type
    """A check of an option's value."""
    adapter: TypeAdapter[str] = TypeAdapter(names)

    def check(text: str) -> str:
        try:
            return adapter.validate_python(text)
        except ValidationError:
            raise argparse.ArgumentTypeError(f"{text} can not be the name of {what}") from None

    return check
