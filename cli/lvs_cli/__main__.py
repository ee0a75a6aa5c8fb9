"""`kubectl lvs`: exit code 0, 1 when something failed, also in part, 2 when the command line is wrong."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from lvs_cli.adopt import add_adopt_options, adopt
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.export import add_export_options, export
from lvs_cli.failover import add_failover_options, failover
from lvs_cli.import_table import add_import_options, import_table
from lvs_cli.list_tables import add_list_options, list_tables
from lvs_cli.output import Said
from lvs_cli.release import release
from lvs_cli.status import add_status_options, status
from lvs_cli.zero import add_zero_options, zero

_Run = Callable[[Callable[[], Cluster], argparse.Namespace], Said]
_Options = Callable[[argparse.ArgumentParser], None]
_NOBODY_READS = 128 + signal.SIGPIPE
"""As a shell tells of a program that such a pipe has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the plug-in with these arguments, the process's own when None; the exit code."""
    options = command_parser().parse_args(arguments)
    try:
        said: Said = options.run(lambda: Cluster(context=options.context), options)
    except CliError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if said.text and not _print_all(said.text):
        return _NOBODY_READS
    for note in said.notes:
        print(f"note: {note}", file=sys.stderr)
    for failure in said.failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if said.failures else 0


def _print_all(text: str) -> bool:
    """False where the reader, such as `head`, has had enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is buffered would be written, and refused, once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def command_parser() -> argparse.ArgumentParser:
    """What the plug-in takes."""
    parser = argparse.ArgumentParser(
        prog="kubectl lvs",
        description="See what the Linux Virtual Server does, move tables to and from ipvsadm, and have directors act.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: _Run, *options: _Options, summary: str, description: str | None = None) -> None:
        one = commands.add_parser(name, help=summary, description=description)
        for add_options in options:
            add_options(one)
        one.add_argument("--context", help="a context of the kubeconfig")
        one.set_defaults(run=run)

    command(
        "status",
        status,
        add_status_options,
        _add_namespaces,
        summary="every service, who serves it, and why not",
        description="Every service, who serves it, and why not. With --tree, or for one SERVICE, with its director "
        "group, directors and real servers. From objects only: what kernels hold is told by list.",
    )
    command(
        "list",
        list_tables,
        add_list_options,
        summary="what the directors' kernels hold and count, as ipvsadm lists it",
        description="What the directors' kernels hold and count, as ipvsadm lists it, asked from their agents. Whoever "
        "can not be reached is named, and the exit code is 1.",
    )
    command(
        "export",
        export,
        add_export_options,
        _add_namespaces,
        summary="what directors are told, as a file that ipvsadm -R reads",
        description="What directors are told, from the objects, as a file that ipvsadm -R reads. What this form can "
        "not say is noted on standard error.",
    )
    command(
        "import",
        import_table,
        add_import_options,
        summary="a table as ipvsadm -S -n saves it, as objects",
        description="Prints a table as ipvsadm -S -n saves it, or as people write it for ipvsadm -R, as objects that "
        "mean the same, for kubectl apply. What they can not say is named line by line, and nothing is printed then "
        "without --allow-loss. Nothing is written to a cluster.",
    )
    command(
        "adopt",
        adopt,
        add_adopt_options,
        summary="what a director's kernel has and no object wants, as objects that take it over",
        description="Prints the virtual services of a director's kernel that no object wants, as objects that want "
        "just these, for kubectl apply: agents take over what equals the objects, without a write. What is ours is "
        "left out. What an object wants otherwise, and what objects can not say, is named, and nothing is printed "
        "then without --allow-loss. With --dry-run each entry is told: ours, becomes ours, in the way, or not "
        "ours. Nothing is written to a cluster or kernel.",
    )
    command(
        "zero",
        zero,
        add_zero_options,
        summary="let counters begin at 0, of one service or of all",
        description="Lets the counters of virtual services and their real servers begin at 0 on the directors: those "
        "of one LvsVirtualService, or of all that are ours. Connections go on. Waits until each director has said so.",
    )
    command(
        "failover",
        failover,
        add_failover_options,
        summary="have another director carry a group's addresses",
        description="Has another director carry the addresses of a LvsDirectorGroup, once, and waits until it does. "
        "Refused where no other director is ready.",
    )
    command(
        "release",
        _release,
        _add_release_options,
        summary="let go what nodes hold because nobody was seen to mean its removal",
        description="Lets nodes take away what they hold now (RemovalHeld): what is gone from the API server though "
        "nobody was seen to have deleted it. What comes to be held later stays held.",
    )
    return parser


def _add_namespaces(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", help="that of the kubeconfig's context when absent")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="services of every namespace")


def _add_release_options(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("nodes", nargs="*", default=[], metavar="NODE", help="LvsNodes whose RemovalHeld you have read")
    which.add_argument("--all", action="store_true", help="every node that holds something now")


def _release(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    return Said(text=release(open_cluster(), options.nodes))


if __name__ == "__main__":
    sys.exit(main())
