"""kopf's end, which may not come by itself."""

import asyncio
import contextlib

import pytest

from lvs_operator import watch_thread


async def never_without_another(lost: int) -> None:
    """What loses its first cancellations, as a watcher of kopf whose scheduler is gone."""
    for _ in range(lost):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def as_kopf(parts: set["asyncio.Task[None]"]) -> None:
    """Ends when its parts have; it has cancelled them once."""
    for part in parts:
        part.cancel()
    await asyncio.wait(parts)


@pytest.mark.parametrize("lost", [2, 3])
async def test_a_run_that_waits_for_what_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    monkeypatch.setattr(watch_thread, "END_SECONDS", 0.05)
    ours = asyncio.all_tasks()
    part = asyncio.create_task(never_without_another(lost))
    await asyncio.sleep(0)
    run = asyncio.create_task(as_kopf({part}))
    async with asyncio.timeout(20):
        await watch_thread._end(run, ours)
    assert run.done()
