"""How this process handles memory: its view may hold some hundred thousand objects, which stay."""

import gc
from typing import Final

_NEW_OBJECTS: Final = 50_000
_YOUNG, _MIDDLE = 20, 50


def seek_cycles_seldom() -> None:
    """Have Python look for cycles of garbage after many more new objects than by default, and not in what is imported.

    Nearly everything here is freed by its reference count, and a round makes some hundred thousand objects that are
    gone at its end; by default a third of its time goes into looking through all others meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG, _MIDDLE)
