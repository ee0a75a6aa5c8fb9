"""The probe process as it really runs, and what happens when it dies."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from waiting_for import until

from lvs_agent.decide.health_verdict import Check, Verdict
from lvs_agent.probes.supervisor import ProbeSupervisor


def a_check(port: int) -> Check:
    return Check(address="127.0.0.1", port=port, http=None, interval_seconds=0.05, timeout_seconds=0.05, rise=1, fall=2)


@asynccontextmanager
async def running(supervisor: ProbeSupervisor) -> AsyncIterator[None]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def a_server() -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_verdicts_come_and_a_killed_process_changes_none() -> None:
    wakes: list[int] = []
    supervisor = ProbeSupervisor(lambda: wakes.append(1))
    server, port = await a_server()
    check = a_check(port)
    async with server, running(supervisor):
        supervisor.want({check: Verdict.UNKNOWN})
        await until(lambda: supervisor.verdicts()[check].verdict is Verdict.UP)
        assert wakes
        assert supervisor._process is not None
        os.kill(supervisor._process.pid, signal.SIGKILL)
        await until(lambda: supervisor.restarts == 1)
        assert supervisor.verdicts()[check].verdict is Verdict.UP
        await until(lambda: supervisor.running)
        server.close()
        await server.wait_closed()
        await until(lambda: supervisor.verdicts()[check].verdict is Verdict.DOWN)
        assert supervisor.verdicts()[check].detail == "Connection refused"


async def test_the_process_may_open_as_many_connections_as_its_hard_limit_says() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    supervisor = ProbeSupervisor(lambda: None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        async with running(supervisor):
            await until(lambda: supervisor.running)
            assert supervisor._process is not None
            assert resource.prlimit(supervisor._process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_check_that_goes_on_keeps_its_verdict() -> None:
    supervisor = ProbeSupervisor(lambda: None)
    server, port = await a_server()
    check, other = a_check(port), a_check(1)
    async with server, running(supervisor):
        supervisor.want({check: Verdict.UNKNOWN})
        await until(lambda: supervisor.verdicts()[check].verdict is Verdict.UP)
        supervisor.want({check: Verdict.UNKNOWN, other: Verdict.UP})
        assert supervisor.verdicts()[check].verdict is Verdict.UP
        await until(lambda: supervisor.verdicts()[other].verdict is Verdict.DOWN)
        supervisor.want({other: Verdict.UNKNOWN})
        assert list(supervisor.verdicts()) == [other]


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(3)",
        "import time; time.sleep(60)",
        "import sys; sys.stdout.write('x' * 2**20); sys.stdout.flush(); sys.stdin.read()",
        'import sys; sys.stdout.write(\'{"verdicts":[[1,"Do\')',
        "import sys; print('{}', flush=True); sys.stdin.read()",
        "import sys; print('[]', flush=True); sys.stdin.read()",
    ],
    ids=["exits", "silent", "endless line", "dies within a line", "no verdicts", "no object"],
)
async def test_a_bad_process_is_replaced_and_changes_no_verdict(program: str) -> None:
    supervisor = ProbeSupervisor(
        lambda: None, command=(sys.executable, "-c", program), silence_seconds=0.3, start_seconds=0.3
    )
    check = a_check(1)
    supervisor.want({check: Verdict.UP})
    async with running(supervisor):
        await until(lambda: supervisor.restarts >= 2)
    assert supervisor.verdicts()[check].verdict is Verdict.UP


async def test_the_process_ends_with_the_agent() -> None:
    supervisor = ProbeSupervisor(lambda: None)
    async with running(supervisor):
        await until(lambda: supervisor.running)
        assert supervisor._process is not None
        pid = supervisor._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_silence_after_a_word_counts_from_that_word() -> None:
    program = "import time; print('{\"verdicts\":[]}', flush=True); time.sleep(60)"
    supervisor = ProbeSupervisor(lambda: None, command=(sys.executable, "-c", program), silence_seconds=0.3)
    async with running(supervisor):
        await until(lambda: supervisor.restarts >= 1)


async def test_a_process_that_can_not_be_started_is_tried_again() -> None:
    supervisor = ProbeSupervisor(lambda: None, command=("/nowhere/probes",))
    check = a_check(1)
    supervisor.want({check: Verdict.UP})
    async with running(supervisor):
        await until(lambda: supervisor.restarts >= 2)
    assert supervisor.verdicts()[check].verdict is Verdict.UP
