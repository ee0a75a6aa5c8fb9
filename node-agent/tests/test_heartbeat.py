"""How soon a Lease is renewed after renewals that fail or hang."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from itertools import pairwise

import httpx2
import pytest
from waiting_for import until

from lvs_agent.objects import heartbeat
from lvs_agent.objects.api_connection import ApiConnection
from lvs_agent.objects.heartbeat import ANSWER_SECONDS, DURATION_SECONDS, RENEW_SECONDS, keep_lease
from simulation.virtual_time import START, VirtualLoop, run_virtually

PATH = "/apis/coordination.k8s.io/v1/namespaces/lvs-system/leases/lvs-agent-node-1"
Fault = Callable[[], Awaitable[httpx2.Response]]


async def hang() -> httpx2.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def refuse() -> httpx2.Response:
    return httpx2.Response(500, json={"message": "etcdserver: request timed out"})


async def find_nobody() -> httpx2.Response:
    raise httpx2.ConnectError("connection refused")


def tries(fault: Fault, failing: Collection[int], seconds: float) -> list[float]:
    """When renewals are asked for, in seconds since the first one, on a virtual clock; those of these numbers fail."""

    async def main(loop: VirtualLoop) -> list[float]:
        asked: list[float] = []

        async def answer(request: httpx2.Request) -> httpx2.Response:
            assert request.url.path == PATH
            assert json.loads(request.content)["spec"]["leaseDurationSeconds"] == DURATION_SECONDS
            asked.append(loop.time() - START)
            return await fault() if len(asked) - 1 in failing else httpx2.Response(200, json={})

        client = httpx2.AsyncClient(base_url="http://api", transport=httpx2.MockTransport(answer))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await keep_lease(ApiConnection(client), namespace="lvs-system", node_name="node-1")
        await client.aclose()
        return asked

    return run_virtually(main)


def test_what_is_answered_is_renewed_in_turn() -> None:
    assert tries(hang, (), 35) == pytest.approx([0, 10, 20, 30])


@pytest.mark.parametrize("fault", [hang, refuse, find_nobody])
def test_after_two_failures_it_is_renewed_within_20_seconds(fault: Fault) -> None:
    first, failed, _, renewed, following = tries(fault, (1, 2), 40)[:5]
    assert renewed - failed < 20
    assert renewed - first < DURATION_SECONDS
    assert following - renewed == pytest.approx(RENEW_SECONDS)


@pytest.mark.parametrize("fault", [hang, refuse, find_nobody])
def test_four_renewals_may_fail_before_a_lease_runs_out(fault: Fault) -> None:
    asked = tries(fault, range(1, 100), 200)
    assert sum(one + ANSWER_SECONDS < DURATION_SECONDS for one in asked[1:]) >= 4
    apart = [later - sooner for sooner, later in pairwise(asked)]
    assert min(apart) >= 1
    assert max(apart) <= RENEW_SECONDS
    assert len(asked) < 200 / 4 + 5, "as often as the longest delay has it, and no oftener"


def test_each_trouble_is_met_as_the_first_one() -> None:
    asked = tries(refuse, (1, 2, 3, 5), 60)
    assert asked[6] - asked[5] == asked[2] - asked[1] == 1


async def test_a_connection_that_hangs_is_left_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On sockets: of several API servers behind one address one takes requests and answers none."""
    for name in ("ANSWER_SECONDS", "FIRST_DELAY", "LONGEST_DELAY", "RENEW_SECONDS"):
        monkeypatch.setattr(heartbeat, name, 0.05)
    requests, left, served = 0, 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests, left, served
        served += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"}}")  # the end of a Lease
                requests += 1
                if requests in {2, 3}:
                    assert await reader.read() == b"", "the same connection was used again"
                    left += 1
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        served -= 1

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    keeping = asyncio.create_task(keep_lease(ApiConnection(client), namespace="lvs-system", node_name="node-1"))
    await until(lambda: requests >= 5)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await client.aclose()
    listening.close()
    await listening.wait_closed()
    await until(lambda: served == 0)
    assert left == 2
    assert [one.getMessage() for one in caplog.records if one.name == heartbeat.__name__] == [
        "Lease lvs-system/lvs-agent-node-1 is not renewed: no answer within 0.05 s"
    ]
