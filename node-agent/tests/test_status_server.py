"""The small server for health and metrics."""

import asyncio

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter

from lvs_agent.status_server import check_page, metrics_page, serve_pages


async def test_pages() -> None:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry).inc(3)
    complaints: list[str] = []
    pages = {
        "/healthz": check_page(lambda: complaints[0] if complaints else None),
        "/metrics": metrics_page(registry),
    }
    server = await serve_pages("127.0.0.1", 0, pages)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx2.AsyncClient(base_url=base) as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert "things_total 3.0" in (await client.get("/metrics?x=1")).text
        assert (await client.get("/other")).status_code == 404
        assert (await client.post("/healthz")).status_code == 404
        complaints.append("no round for 40 s")
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (503, "no round for 40 s\n")


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"x" * 20000, b"GET"])
async def test_strangers_do_no_harm(sent: bytes) -> None:
    server = await serve_pages("127.0.0.1", 0, {"/healthz": check_page(lambda: None)})
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 404")
        writer.close()
