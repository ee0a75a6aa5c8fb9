"""The probe process as it really runs, and what happens when it dies."""

import asyncio
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from waiting_for import until

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.health_verdict import Check, Verdict
from lvs_agent.kernel.testing import NetworkNamespace
from lvs_agent.probes.interface import Result
from lvs_agent.probes.supervisor import ProbeSupervisor
from lvs_api.conditions import Reason

NONE = Fault(reason=Reason.READY, message="")


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


async def a_server(port: int = 0) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port)
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


async def test_probes_killed_again_and_again_while_a_server_is_down_change_nothing_by_that() -> None:
    counted: Counter[Result] = Counter()

    def count(result: Result, number: int) -> None:
        counted[result] += number

    supervisor = ProbeSupervisor(lambda: None, count=count)
    server, port = await a_server()
    check = replace(a_check(port), fall=10**6)
    async with server, running(supervisor):
        supervisor.want({check: Verdict.UNKNOWN})
        await until(lambda: supervisor.verdicts()[check].verdict is Verdict.UP)
        server.close()
        await server.wait_closed()
        for restarts in (1, 2, 3):
            assert supervisor._process is not None
            os.kill(supervisor._process.pid, signal.SIGKILL)
            await until(lambda number=restarts: supervisor.restarts == number and supervisor.running)  # type: ignore[misc]  # mypy infers no lambda with a default
            assert supervisor.verdicts()[check].verdict is Verdict.UP
        await until(lambda: counted[Result.FAILED] > 0)
        assert supervisor.verdicts()[check].verdict is Verdict.UP
        before = counted[Result.PASSED]
        server, _ = await a_server(port)
        async with server:
            await until(lambda: counted[Result.PASSED] > before)
        assert supervisor.blindness() is None


async def test_nobody_who_answers_leaves_every_weight_until_somebody_does(namespace: NetworkNamespace) -> None:
    """A network without anybody in it: neither ARP nor anything else is answered."""
    namespace.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    namespace.ip("addr", "add", "192.0.2.1/24", "dev", "veth0")
    namespace.ip("link", "set", "veth0", "up")
    namespace.ip("link", "set", "veth1", "up")
    command = ("ip", "netns", "exec", namespace.name, sys.executable, "-m", "lvs_agent.probes")
    wakes: list[int] = []
    supervisor = ProbeSupervisor(lambda: wakes.append(1), command=command)
    silent = [replace(a_check(80), address=f"192.0.2.{number}") for number in (2, 3)]
    here = a_check(80)
    async with running(supervisor):
        supervisor.want({silent[0]: Verdict.UP, silent[1]: Verdict.UNKNOWN})
        await until(lambda: (supervisor.blindness() or NONE).reason is Reason.CHECKS_UNANSWERED)
        assert [result.verdict for result in supervisor.verdicts().values()] == [Verdict.UP, Verdict.UNKNOWN]
        # An answer, and be it a refusal: this node does hear.
        supervisor.want({silent[0]: Verdict.UP, silent[1]: Verdict.UNKNOWN, here: Verdict.UP})
        await until(lambda: {result.verdict for result in supervisor.verdicts().values()} == {Verdict.DOWN})
        assert supervisor.blindness() is None
    assert wakes


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
        'import sys; print(\'{"tally":[[1],false,""]}\', flush=True); sys.stdin.read()',
        'import sys; print(\'{"tally":[{"won":1},0,0]}\', flush=True); sys.stdin.read()',
    ],
    ids=["exits", "silent", "endless line", "dies within a line", "no verdicts", "no object", "no tally", "no result"],
)
async def test_a_bad_process_is_replaced_and_changes_no_verdict(program: str) -> None:
    supervisor = ProbeSupervisor(
        lambda: None, command=(sys.executable, "-c", program), silence_seconds=0.3, start_seconds=0.3
    )
    check = a_check(1)
    supervisor.want({check: Verdict.UP})
    async with running(supervisor):
        await until(lambda: supervisor.restarts >= 2)
        await until(lambda: supervisor.running or supervisor.blindness() is not None)
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
