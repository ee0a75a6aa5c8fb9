"""What users do to services, one at a time, among very many."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from bench.many_objects import ManyObjects
from support.operator_world import World

Json = dict[str, Any]
Change = Callable[[World, ManyObjects, int], None]
"""What a user does to the service of a number, or to its pool."""


def _weight(scene: World, many: ManyObjects, number: int) -> None:
    scene.edit(many.pool(number), **many.pool(number, weight=2)["spec"])


def _one_more(scene: World, many: ManyObjects, number: int) -> None:
    scene.edit(many.pool(number), **many.pool(number, more=1)["spec"])


def _one_fewer(scene: World, many: ManyObjects, number: int) -> None:
    scene.edit(many.pool(number), **many.pool(number)["spec"])


def _scheduler(scene: World, many: ManyObjects, number: int) -> None:
    scene.edit(many.service(number), scheduler="wlc")


def _deleted(scene: World, many: ManyObjects, number: int) -> None:
    scene.server.delete(many.service(number)).raise_for_status()


def _made(scene: World, many: ManyObjects, number: int) -> None:
    scene.server.create(many.service(number)).raise_for_status()


CHANGES: Final[Mapping[str, Change]] = {
    "one weight is changed": _weight,
    "a real server comes": _one_more,
    "a real server is taken out, and drained": _one_fewer,
    "another scheduler": _scheduler,
    "a service is deleted": _deleted,
    "a service is made": _made,
}
"""In this order, and all on the same service."""
