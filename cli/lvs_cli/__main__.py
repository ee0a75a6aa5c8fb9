"""`kubectl lvs`: exit code 0, 1 when something failed, 2 when the command line is wrong."""

import argparse
import sys
from collections.abc import Sequence

from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.status import show_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the plug-in with these arguments, the process's own when None; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        cluster = Cluster(context=options.context)
        print(
            show_status(cluster, namespace=None if options.all_namespaces else options.namespace or cluster.namespace)
        )
    except CliError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl lvs", description="See what the Linux Virtual Server does.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="every service, who serves it, and why not")
    status.add_argument("-n", "--namespace", help="that of the kubeconfig's context when absent")
    status.add_argument("-A", "--all-namespaces", action="store_true", help="services of every namespace")
    status.add_argument("--context", help="a context of the kubeconfig")
    return parser


if __name__ == "__main__":
    sys.exit(main())
