"""An event loop whose time passes only when everybody waits, and then at once."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, tzinfo
from typing import Any, TypeVar

_T = TypeVar("_T")
START = 1000.0


class NobodyIsLeftError(AssertionError):
    """Everybody waits for something that can not come."""


class _Instant(selectors.SelectSelector):
    """Waits for nothing: it tells the loop how long it would have waited. Files are ready when somebody says so."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_time: Callable[[float], None] = lambda _: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NobodyIsLeftError("everybody waits for ever")
        if timeout > 0:
            self.pass_time(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on a clock of its own. Work for other threads is done on the spot."""

    def __init__(self) -> None:
        selector = _Instant()
        super().__init__(selector)
        self.now = START
        selector.pass_time = self._pass

    def _pass(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        """Seconds, from `START`."""
        return self.now

    def run_in_executor(  # type: ignore[override]  # a future of this loop, ready
        self,
        executor: object,  # noqa: ARG002 (there is only one)
        func: Callable[..., _T],
        *args: Any,  # noqa: ANN401 -- asyncio's own
    ) -> "asyncio.Future[_T]":
        """At once."""
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 (handed to whoever awaits it, as a thread's would be)
            done.set_exception(error)
        return done


class VirtualDatetime:
    """Stands for the class `datetime` in what runs in a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self, zone: tzinfo) -> datetime:
        """A day in June, and the loop's time."""
        return datetime(2025, 6, 1, tzinfo=zone) + timedelta(seconds=self._loop.now)


class VirtualTime:
    """Stands for the module `time` in what runs in a virtual loop."""

    CLOCK_BOOTTIME = 7

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """The loop's time."""
        return self._loop.now

    def clock_gettime(self, _: int) -> float:
        """The loop's time, also through suspension."""
        return self._loop.now


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, _T]]) -> _T:
    """Run to the end in a loop of its own."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))
