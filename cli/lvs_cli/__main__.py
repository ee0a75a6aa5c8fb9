"""`kubectl lvs`: exit code 0, 1 when something failed, 2 when the command line is wrong."""

import argparse
import sys
from collections.abc import Sequence

from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.release import release
from lvs_cli.status import show_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the plug-in with these arguments, the process's own when None; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(Cluster(context=options.context), options))
    except CliError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl lvs", description="See what the Linux Virtual Server does, and let go what it holds."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="every service, who serves it, and why not")
    status.add_argument("-n", "--namespace", help="that of the kubeconfig's context when absent")
    status.add_argument("-A", "--all-namespaces", action="store_true", help="services of every namespace")
    status.set_defaults(run=_status)
    letting_go = commands.add_parser(
        "release", help="let go what nodes hold because nobody was seen to mean its removal"
    )
    which = letting_go.add_mutually_exclusive_group(required=True)
    which.add_argument("nodes", nargs="*", default=[], metavar="NODE", help="LvsNodes whose RemovalHeld you have read")
    which.add_argument("--all", action="store_true", help="every node that holds something now")
    letting_go.set_defaults(run=_release)
    for command in (status, letting_go):
        command.add_argument("--context", help="a context of the kubeconfig")
    return parser


def _status(cluster: Cluster, options: argparse.Namespace) -> str:
    return show_status(cluster, namespace=None if options.all_namespaces else options.namespace or cluster.namespace)


def _release(cluster: Cluster, options: argparse.Namespace) -> str:
    return release(cluster, options.nodes)


if __name__ == "__main__":
    sys.exit(main())
