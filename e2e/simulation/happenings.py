"""Sequences of happenings by a seed, run in a world of their own; one that leads to what must not be is made short."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from simulation.clocks import on_virtual_clocks
from simulation.users import DIRECTORS, MEMBERS, POOLS, SERVERS, SLOTS, WAYS
from simulation.virtual_time import VirtualLoop, run_virtually
from simulation.world import World

MEMORY: Final = Path("/dev/shm")
FEWEST: Final = 8
MOST: Final = 30
OUR_KINDS: Final = (
    "lvsserviceslices",
    "lvsnodes",
    "lvsvirtualservices",
    "lvsrealserverpools",
    "lvsdirectorgroups",
)


class Happening(NamedTuple):
    """A method of the world with its arguments, and the seconds that pass afterwards."""

    what: str
    arguments: tuple[Any, ...]
    then: float

    def __str__(self) -> str:
        arguments = ", ".join(map(repr, self.arguments))
        return f"{self.what}({arguments}), then {self.then} s"


class Draw:
    """Arguments of happenings."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def director(self) -> str:
        """A director."""
        return self.rng.choice(list(DIRECTORS))

    def server(self) -> str:
        """A real server's node."""
        return self.rng.choice(list(SERVERS))

    def node(self) -> str:
        """Any node."""
        return self.rng.choice([*DIRECTORS, *DIRECTORS, *SERVERS])

    def program(self) -> str:
        """Who speaks to the API server."""
        return self.rng.choice(["operator", "operator", *DIRECTORS, *SERVERS])

    def seconds(self, *choices: float) -> float:
        """One of these."""
        return self.rng.choice(choices)

    def members(self) -> dict[str, tuple[int, str]]:
        """Real servers of a pool."""
        chosen = self.rng.sample(MEMBERS, self.rng.choice([1, 1, 2, 2, 3, 4]))
        states = ["Active"] * 6 + ["Draining", "Disabled"]
        return {address: (self.rng.choice([0, 1, 1, 1, 3]), self.rng.choice(states)) for address in sorted(chosen)}


KINDS: Final[dict[str, tuple[int, Callable[[Draw], tuple[Any, ...]]]]] = {
    "put_service": (
        10,
        lambda draw: (
            draw.rng.choice(list(SLOTS)),
            draw.rng.choice(POOLS),
            draw.rng.choice([*WAYS, "DirectRouting"]),
            draw.rng.choice(["rr", "wrr", "wlc"]),
        ),
    ),
    "put_pool": (12, lambda draw: (draw.rng.choice(POOLS), draw.members(), draw.rng.random() < 0.7)),
    "delete_service": (5, lambda draw: (draw.rng.choice(list(SLOTS)),)),
    "delete_pool": (3, lambda draw: (draw.rng.choice(POOLS),)),
    "delete_namespace": (1, lambda _: ()),
    "label_director": (4, lambda draw: (draw.director(), draw.rng.random() < 0.5)),
    "cordon": (4, lambda draw: (draw.director(), draw.seconds(1, 5, 20))),
    "hand_over": (5, lambda draw: (draw.rng.randrange(1000), draw.rng.choice([None, draw.director()]))),
    "power_cycle": (
        6,
        lambda draw: (
            draw.node(),
            draw.seconds(0.2, 1, 5, 15),
            draw.seconds(0.1, 2),
            draw.seconds(0.5, 3, 20),
            draw.seconds(0.5, 3, 20),
        ),
    ),
    "node_not_ready": (3, lambda draw: (draw.node(), draw.seconds(1, 5, 20))),
    "fence": (2, lambda draw: (draw.director(), draw.seconds(5, 20))),
    "server_fails": (6, lambda draw: (draw.server(), draw.seconds(1, 4, 10))),
    "clients": (8, lambda draw: (draw.director(), draw.rng.choice([0, 1, 7]))),
    "kill_agent": (6, lambda draw: (draw.node(), draw.seconds(0.1, 2, 10))),
    "crash_agent": (4, lambda draw: (draw.director(), draw.rng.choice([0, 1, 2, 3]))),
    "lose_state": (
        3,
        lambda draw: (
            draw.node(),
            draw.rng.choice(["view", "ledger"]),
            draw.rng.choice([None, "damaged", ""]),
            draw.seconds(0.1, 3),
        ),
    ),
    "kill_probes": (4, lambda draw: (draw.director(), draw.seconds(2, 8))),
    "kill_operator": (6, lambda draw: (draw.seconds(0.1, 3, 15),)),
    "api_away": (6, lambda draw: (draw.seconds(0.5, 5, 30),)),
    "cut": (4, lambda draw: (draw.program(), draw.seconds(1, 10))),
    "silence": (3, lambda draw: (draw.program(), draw.seconds(5, 20, 90))),
    "lag": (4, lambda draw: (draw.program(), draw.seconds(5, 20), draw.seconds(0.5, 3))),
    "lose_answers": (2, lambda draw: (draw.program(), draw.seconds(1, 5))),
    "reset": (3, lambda draw: (draw.program(), draw.rng.choice([0, 2, 5]))),
    "compact": (2, lambda _: ()),
    "delete_crd": (2, lambda draw: (draw.rng.choice(OUR_KINDS), draw.seconds(1, 5, 30))),
    "delete_generated": (3, lambda draw: (draw.rng.choice(OUR_KINDS[:2]), draw.rng.randrange(5))),
    "clear_table": (2, lambda draw: (draw.director(),)),
    "make_foreign_service": (2, lambda draw: (draw.director(),)),
    "take_address": (3, lambda draw: (draw.node(), draw.rng.randrange(4))),
    "set_weight": (3, lambda draw: (draw.director(), draw.rng.randrange(8), draw.rng.choice([0, 5]))),
    "take_destination": (2, lambda draw: (draw.director(), draw.rng.randrange(8))),
    "break_silence": (2, lambda draw: (draw.server(),)),
}
"""How often each comes, and with which arguments."""


def draw_sequence(seed: int) -> tuple[Happening, ...]:
    """The same for the same seed, always."""
    rng = Random(seed)  # noqa: S311 (a game, not a secret)
    draw = Draw(rng)
    names = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()], k=rng.randint(FEWEST, MOST))
    return tuple(Happening(name, KINDS[name][1](draw), rng.choice([0, 0, 0.02, 0.3, 1, 1, 3, 10])) for name in names)


def run_sequence(seed: int, sequence: Sequence[Happening]) -> str | None:
    """What went wrong; None where nothing did."""
    directory = Path(tempfile.mkdtemp(prefix="world-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        run_virtually(lambda loop: _live(loop, directory, seed, sequence))
    except AssertionError as error:
        return str(error)
    finally:
        shutil.rmtree(directory)
    return None


async def _live(loop: VirtualLoop, directory: Path, seed: int, sequence: Sequence[Happening]) -> None:
    with on_virtual_clocks(loop):
        world = World(loop, directory, Random(seed))  # noqa: S311 (a game, not a secret)
        try:
            await world.begin()
            for happening in sequence:
                getattr(world, happening.what)(*happening.arguments)
                await world.wait(happening.then)
            await world.end()
        finally:
            world.stop()
            await asyncio.sleep(0)


def shorten(seed: int, sequence: Sequence[Happening], *, patience: int = 300) -> tuple[Happening, ...]:
    """Without what is not needed for something to go wrong: first halves, then ever smaller parts."""
    kept, size = list(sequence), max(1, len(sequence) // 2)
    while size:
        start = 0
        while start < len(kept) and patience:
            patience -= 1
            shorter = kept[:start] + kept[start + size :]
            if run_sequence(seed, shorter) is not None:
                kept = shorter
            else:
                start += size
        size //= 2
    return tuple(kept)


@contextmanager
def silent_logs() -> Iterator[None]:
    """A world says much while it breaks. Other tests of the same process read what is logged."""
    loggers = [logging.getLogger(name) for name in ("lvs_agent", "lvs_operator")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
