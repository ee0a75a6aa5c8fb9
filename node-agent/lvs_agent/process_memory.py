"""How this process handles memory, for tables of thousands of real servers on nodes that have other work."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_ARENA_MAX: Final = -8  # M_ARENA_MAX of malloc.h
_NEW_OBJECTS: Final = 20_000
_YOUNG, _MIDDLE = 20, 50


def share_one_heap() -> None:
    """Have all threads take memory from one place: the few that there are, writing files, would each keep theirs.

    To be called before there are any. Only glibc has several heaps, and a way to say this.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def seek_cycles_seldom() -> None:
    """Have Python look for cycles of garbage after many more new objects than by default, and not in what is imported.

    Nearly everything here is freed by its reference count. To look through all objects takes a tenth of a second with
    10,000 real servers, and by default that begins in the middle of a round that makes as many changes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG, _MIDDLE)
