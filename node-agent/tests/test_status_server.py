"""The small server for health and metrics."""

import asyncio
import socket
from ipaddress import ip_address

import httpx2
import pytest

from lvs_agent.decide.node_word import Carried, NodeWord, decode_word
from lvs_agent.serve.status_server import Shown, background_page, check_page, serve_pages, word_page
from lvs_api.bind_device import BindDevice


async def test_pages() -> None:
    complaints: list[str] = []
    pages = {
        "/healthz": check_page(lambda: complaints[0] if complaints else None),
        "/metrics": background_page(lambda: Shown(well=True, body=b"things_total 3.0\n")),
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


async def test_the_word_is_told_once_there_is_one() -> None:
    vip = Carried(ip_address("192.168.4.15"), BindDevice.LO)
    words = [None, NodeWord(boot_id="b", carried=frozenset({vip}), age_milliseconds=7)]
    server = await serve_pages("", 0, {"/v1/prepared": word_page(lambda: words[0])})
    (port,) = (one.getsockname()[1] for one in server.sockets if one.family is socket.AF_INET)
    async with server, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/v1/prepared")).status_code == 503
        del words[0]
        answer = await client.get("/v1/prepared")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert decode_word(answer.content) == words[0]


async def test_without_an_address_it_answers_on_those_of_both_families() -> None:
    server = await serve_pages("", 0, {"/healthz": check_page(lambda: None)})
    async with server, httpx2.AsyncClient() as client:
        ports = {one.family: one.getsockname()[1] for one in server.sockets}
        for host, family in (("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6)):
            assert (await client.get(f"http://{host}:{ports[family]}/healthz")).text == "ok\n"


async def test_more_strangers_than_fit_keep_nobody_out_for_long() -> None:
    server = await serve_pages("127.0.0.1", 0, {"/healthz": check_page(lambda: None)})
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        idle = [await asyncio.open_connection(host, port) for _ in range(64)]
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(host, port)
            assert await reader.read() == b""
            writer.close()
            idle.pop()[1].close()
            answer = b""
            while not answer.startswith(b"HTTP/1.1 200"):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
                answer = await reader.read()
                writer.close()
        for _, writer in idle:
            writer.close()
