"""Every kopf decorator, and nothing else: each event is handed on.

kopf is used for what it does well: keeping watches open. `on.event` handlers write nothing to the objects, neither
finalizers nor annotations, and return nothing, for kopf would store that in their status.
"""

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from lvs_operator.watched_kinds import WATCHED_KINDS, WatchedKind

Deliver = Callable[[WatchedKind, Mapping[str, Any], bool], None]
"""Takes the kind, the raw object, and whether it is gone."""
Listed = Callable[[], None]
"""Hears that an object came by a list and not by a watch: what went before that list kopf does not tell."""
Login = Callable[[], kopf.ConnectionInfo]
Ending = Callable[[], None]
"""Called when the run ends, whyever."""


def build_registry(deliver: Deliver, listed: Listed, login: Login, ending: Ending) -> kopf.OperatorRegistry:
    """The handlers of one run of kopf."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, retries=1)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:  # noqa: ANN401 -- kopf's signature
        return login()

    @kopf.on.cleanup(registry=registry, retries=1)
    async def tell_end(**_: Any) -> None:  # noqa: ANN401 -- kopf's signature
        ending()

    for kind in WATCHED_KINDS:
        _watch(registry, kind, deliver, listed)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: WatchedKind, deliver: Deliver, listed: Listed) -> None:
    @kopf.on.event(group=kind.group, version=kind.version, plural=kind.plural, id=kind.plural, registry=registry)
    async def wake(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 -- kopf's signature
        deliver(kind, event["object"], event["type"] == "DELETED")
        if event["type"] is None:
            listed()
