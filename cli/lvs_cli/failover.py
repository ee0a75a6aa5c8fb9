"""`kubectl lvs failover`: has another director carry a group's addresses, once, and waits for what came of it."""

import argparse
import secrets
import time
from collections.abc import Callable
from typing import Final

from lvs_api.api_group import ANNOTATION_HAND_OVER
from lvs_api.director_group import HandOver, HandOverState, LvsDirectorGroupSpec, LvsDirectorGroupStatus
from lvs_api.kinds import DIRECTOR_GROUP
from lvs_api.objects import ApiObject
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.output import Said

WAIT_SECONDS: Final = 45.0
"""Longer than the operator waits for the directors."""
_INTERVALS: Final = 6
"""To that come as many adverts, as with the operator."""
_LOOK_SECONDS: Final = 0.5
Group = ApiObject[LvsDirectorGroupSpec, LvsDirectorGroupStatus]


def add_failover_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("director_group", metavar="GROUP", help="a LvsDirectorGroup")
    command.add_argument(
        "--to",
        dest="director",
        metavar="NODE",
        help="the director that is to carry all its addresses; any other one that is ready when absent",
    )


def failover(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """What the operator says of it, which refuses where no other director is ready."""
    cluster, name, heir = open_cluster(), options.director_group, options.director
    group = _group(cluster, name)
    directors = [one.node for one in (group.status.directors if group.status is not None else None) or ()]
    if heir is not None and heir not in directors:
        raise CliError(f"{heir} is no director of LvsDirectorGroup {name}; its directors are {', '.join(directors)}")
    token = secrets.token_hex(8)
    said = token if heir is None else f"{token}/{heir}"
    before = _last(group)
    cluster.annotate(DIRECTOR_GROUP, name, ANNOTATION_HAND_OVER, said)
    last = _wait(cluster, name, said, _patience(group))
    answer = last if last is not None and last.request == said else None
    if last is not None and answer is None and (before is None or last.request != before.request):
        # What stands there now is theirs, in the place of ours.
        why = f"somebody else asked for a hand-over meanwhile, which counts: {last.state}: {last.message}"
        return Said(text="", failures=(f"{name}: {why}",))
    # A group that is restored from a backup without its status would ask for it again.
    cluster.annotate(DIRECTOR_GROUP, name, ANNOTATION_HAND_OVER, None)
    if answer is None:
        return Said(text="", failures=(f"{name}: the operator has not said anything of it; does it run?",))
    if answer.state is HandOverState.DONE:
        return Said(text=f"{name}: {answer.message}")
    word = "refused" if answer.state is HandOverState.REFUSED else "failed"
    return Said(text="", failures=(f"{name}: {word}: {answer.message}",))


def _group(cluster: Cluster, name: str) -> Group:
    groups = {one.metadata.name: one for one in cluster.list(DIRECTOR_GROUP)}
    if name not in groups:
        raise CliError(f"there is no LvsDirectorGroup {name}; there are {', '.join(groups) or 'none'}")
    return groups[name]


def _patience(group: Group) -> float:
    interval = group.spec.vrrp.advert_interval_milliseconds if group.spec.vrrp is not None else 0
    return WAIT_SECONDS + _INTERVALS * interval / 1000


def _last(group: Group) -> HandOver | None:
    return group.status.hand_over if group.status is not None else None


def _wait(cluster: Cluster, name: str, said: str, patience: float) -> HandOver | None:
    """What the operator says of the last request at the end of this one, or when the time is over."""
    end = time.monotonic() + patience
    while True:
        found = _last(_group(cluster, name))
        is_over = found is not None and found.request == said and found.state is not HandOverState.UNDER_WAY
        if is_over or time.monotonic() >= end:
            return found
        time.sleep(_LOOK_SECONDS)  # a watch would need a right that reading the groups does not
