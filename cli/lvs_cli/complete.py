"""`kubectl_complete-lvs`: what may come next on a command line of `kubectl lvs`, as kubectl asks plug-ins for it.

kubectl calls it with the words so far, the last of them being the one to complete, and reads a line for each proposal
and a last one with a colon and a number (cobra's ShellCompDirective).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final

from lvs_api.kinds import DIRECTOR_GROUP, NODE, VIRTUAL_SERVICE
from lvs_cli.__main__ import command_parser
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError


class Directive(IntEnum):
    """What the shell makes of the proposals."""

    DEFAULT = 0
    """File names, where there are none."""
    ERROR = 1
    """There are none, for they could not be found out."""
    NO_FILES = 4
    """These and nothing else."""


_Names = Callable[[Cluster, str | None], Iterable[str]]


def _namespaces(cluster: Cluster, _: str | None) -> Iterable[str]:
    """Those with services: whoever may not list Namespaces may list these."""
    return (one.metadata.namespace or "" for one in cluster.list(VIRTUAL_SERVICE))


def _services(cluster: Cluster, namespace: str | None) -> Iterable[str]:
    return (one.metadata.name for one in cluster.list(VIRTUAL_SERVICE, namespace=namespace or cluster.namespace))


def _directors(cluster: Cluster, _: str | None) -> Iterable[str]:
    return (one.metadata.name for one in cluster.list(NODE) if one.spec.director_groups)


def _nodes(cluster: Cluster, _: str | None) -> Iterable[str]:
    return (one.metadata.name for one in cluster.list(NODE))


def _groups(cluster: Cluster, _: str | None) -> Iterable[str]:
    return (one.metadata.name for one in cluster.list(DIRECTOR_GROUP))


_NAMES: Final[dict[str, _Names]] = {
    "namespace": _namespaces,
    "director": _directors,
    "director_group": _groups,
    "service": _services,
    "nodes": _nodes,
}
"""By what argparse calls an argument."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the proposals for these words, the process's own when None; the exit code, always 0."""
    *before, word = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    proposals, directive = propose(before, word, lambda context: Cluster(context=context))
    for one in proposals:
        print(one)
    print(f":{directive.value}")
    return 0


def propose(
    before: Sequence[str], word: str, open_cluster: Callable[[str | None], Cluster]
) -> tuple[list[str], Directive]:
    """What may stand in place of a word that begins so, behind the words before it."""
    commands = _commands(command_parser())
    if not before:
        return _beginning(commands, word), Directive.NO_FILES
    command = commands.get(before[0])
    if command is None:
        return [], Directive.NO_FILES
    options = {text: action for action in _actions(command) for text in action.option_strings}
    if word.startswith("-"):
        return _beginning(options, word), Directive.NO_FILES
    action = options.get(before[-1])
    if action is None or action.nargs == 0:
        action = next((one for one in _actions(command) if not one.option_strings), None)
    if action is None:
        return [], Directive.NO_FILES
    given = dict(_given(options, before[1:]))
    return _values(action, word, lambda: open_cluster(given.get("context")), given.get("namespace"))


def _values(
    action: argparse.Action, word: str, open_cluster: Callable[[], Cluster], namespace: str | None
) -> tuple[list[str], Directive]:
    """What may be given to an argument."""
    if action.dest == "filename":
        return [], Directive.DEFAULT
    if action.choices is not None:
        return _beginning(map(str, action.choices), word), Directive.NO_FILES
    names = _NAMES.get(action.dest)
    try:
        found = [] if names is None else names(open_cluster(), namespace)
        return _beginning(found, word), Directive.NO_FILES
    except CliError:
        return [], Directive.ERROR


def _beginning(words: Iterable[str], beginning: str) -> list[str]:
    return sorted({one for one in words if one.startswith(beginning)})


def _given(options: dict[str, argparse.Action], words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Values of options that are there already."""
    for word, following in pairwise(words):
        if word in options and options[word].nargs is None:
            yield options[word].dest, following


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = next(one.choices for one in _actions(parser) if isinstance(one.choices, dict))
    return dict(found)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 -- argparse has no other way to ask what a parser takes


if __name__ == "__main__":
    sys.exit(main())
