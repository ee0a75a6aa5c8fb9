"""Asking an agent what its node carries: over real sockets on loopback, also of those that answer something else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from waiting_for import until

from lvs_agent.decide.fresh_word import Answer
from lvs_agent.decide.node_word import MAX_WORD, Carried, NodeWord, decode_word, encode_word
from lvs_agent.probes.messages import (
    MAX_LINE,
    AskAgent,
    Told,
    VerdictChanged,
    WordHeard,
    decode_orders,
    decode_told,
    encode_ask,
    encode_word_heard,
)
from lvs_agent.probes.runner import Runner
from lvs_agent.probes.supervisor import ProbeSupervisor
from lvs_agent.serve.status_server import serve_pages, word_page
from lvs_api.bind_device import MAX_NODE_ADDRESSES, BindDevice

VIP = Carried(ip_address("192.168.4.15"), BindDevice.LO)
VIP6 = Carried(ip_address("2001:db8::15"), BindDevice.IP6TNL0)
SERVER = ip_address("127.0.0.1")
GOOD = b'{"bootID":"b","ageMilliseconds":10,"addresses":[{"address":"192.168.4.15","device":"lo"}]}'


def a_word(*carried: Carried, age: int = 10) -> NodeWord:
    return NodeWord(boot_id="b", carried=frozenset(carried), age_milliseconds=age)


@asynccontextmanager
async def agent(said: NodeWord | None, port: int = 0) -> AsyncIterator[int]:
    """The endpoint as an agent serves it; gives its port."""
    server = await serve_pages("127.0.0.1", port, {"/v1/prepared": word_page(lambda: said)})
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[int]:
    """Somebody who answers every question with these bytes; gives the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except OSError:
            assert answer  # the asker had enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def first_answer(port: int, host: str = "127.0.0.1") -> WordHeard:
    """What the runner tells after asking there once."""
    told: list[WordHeard | VerdictChanged] = []
    runner = Runner(told.append)
    runner.ask(AskAgent(number=7, address=host, port=port))
    await until(lambda: bool(told))
    await runner.stop_all()
    assert isinstance(told[0], WordHeard)
    return told[0]


async def test_an_agents_word_arrives() -> None:
    async with agent(a_word(VIP, VIP6)) as port:
        assert await first_answer(port) == WordHeard(number=7, carried=frozenset({VIP, VIP6}))


@pytest.mark.parametrize(
    ("said", "detail"),
    [(None, "HTTP status 503"), (a_word(VIP, age=5001), "it last looked at its kernel over 5 s ago")],
    ids=["no round yet", "stalled"],
)
async def test_an_agent_that_can_not_tell_gives_no_word(said: NodeWord | None, detail: str) -> None:
    async with agent(said) as port:
        assert await first_answer(port) == WordHeard(number=7, detail=detail)


OK = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"", "closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n" + GOOD, "HTTP status 301"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100, "too many headers"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 2**20, "a header line without an end"),
        (OK, "an answer that is not JSON"),
        (OK + b"ok\n", "an answer that is not JSON"),
        (OK + GOOD[:-1], "an answer that is not JSON"),
        (OK + b"\xff" + GOOD, "an answer that is not JSON"),
        (OK + b"[" * 100_000, "an answer that is not JSON"),
        (OK + b"9" * 100_000, "an answer that is not JSON"),
        (OK + GOOD + b" " * MAX_WORD, f"an answer over {MAX_WORD} bytes"),
        (OK + b"[]", "an answer that names no boot, age and addresses"),
        (OK + b"{}", "an answer that names no boot, age and addresses"),
        (OK + GOOD.replace(b"10", b"-1"), "an answer that names no boot, age and addresses"),
        (OK + GOOD.replace(b"10", b"true"), "an answer that names no boot, age and addresses"),
        (OK + GOOD.replace(b"10", b"0.5"), "an answer that names no boot, age and addresses"),
        (OK + GOOD.replace(b'"b"', b'""'), "an answer that names no boot, age and addresses"),
        (OK + GOOD.replace(b'[{"', b'["x",{"'), "an answer with something else than addresses"),
        (OK + GOOD.replace(b'"lo"', b"null"), "an answer with something else than addresses"),
        (OK + GOOD.replace(b"lo", b"eth0"), "an answer with an address or a device that is none"),
        (OK + GOOD.replace(b"192.168.4.15", b"192.168.4.15/32"), "an answer with an address or a device that is none"),
        (OK + GOOD.replace(b"192.168.4.15", b"fe80::1%eth0"), "an answer with something else than addresses"),
    ],
)
async def test_whatever_a_stranger_answers_is_no_word(answer: bytes, detail: str) -> None:
    async with stranger(answer) as port:
        assert await first_answer(port) == WordHeard(number=7, detail=detail)


async def test_an_answer_without_end_is_cut_off() -> None:
    """By the time that it may take, or by its size, whichever comes first."""
    async with stranger(OK + b" " * 2**24) as port:
        heard = await first_answer(port)
    assert heard.detail in {f"an answer over {MAX_WORD} bytes", "no answer in time"}


async def test_a_word_is_the_same_after_encoding() -> None:
    word = a_word(
        *(Carried(ip_address(f"2001:db8:1234:5678:9abc:def0:1234:{n:x}"), BindDevice.IP6TNL0) for n in range(1, 1025))
    )
    body = encode_word(word)
    assert len(body) < MAX_WORD
    assert decode_word(body) == word


def test_a_word_names_the_ports_for_gue_that_are_open() -> None:
    vip = ip_address("2001:db8:1234:5678:9abc:def0:1234:1")
    ports = (0, *range(65520, 65536))
    word = a_word(*(Carried(vip + n, BindDevice.IP6TNL0, port) for n in range(MAX_NODE_ADDRESSES) for port in ports))
    body = encode_word(word)
    assert len(body) < MAX_WORD
    assert decode_word(body) == word
    heard = WordHeard(number=1, carried=word.carried)
    line = encode_word_heard(heard)
    assert decode_told(line) == Told(word=heard)
    assert len(line) < MAX_LINE
    assert decode_word(GOOD.replace(b'"lo"', b'"lo","guePorts":[6080]')).carried == {VIP, VIP._replace(port=6080)}


@pytest.mark.parametrize("ports", ["6080", "[0]", "[65536]", "[true]", '["6080"]', str([1] * 17)])
def test_ports_that_are_none_are_no_word(ports: str) -> None:
    with pytest.raises(ValueError, match="ports that are none"):
        decode_word(GOOD.replace(b'"lo"', b'"lo","guePorts":' + ports.encode()))


def test_more_addresses_than_a_node_has_are_no_word() -> None:
    one = {"address": "192.168.4.15", "device": "lo"}
    body = json.dumps({"bootID": "b", "ageMilliseconds": 1, "addresses": [one] * (MAX_NODE_ADDRESSES + 1)})
    with pytest.raises(ValueError, match="names no boot"):
        decode_word(body.encode())


def test_questions_and_answers_survive_the_pipe() -> None:
    asks = [AskAgent(number=n, address=f"10.0.0.{n}", port=9462) for n in range(100)]
    assert [ask for line in encode_ask(asks) for ask in decode_orders(line).asks] == asks
    longest = frozenset(
        Carried(ip_address(f"2001:db8:1234:5678:9abc:def0:1234:{n:x}"), BindDevice.IP6TNL0) for n in range(1, 1025)
    )
    for heard in (WordHeard(number=1, carried=longest), WordHeard(number=2, detail="a\nb\u2028c")):
        line = encode_word_heard(heard)
        assert (line.count(b"\n"), decode_told(line)) == (1, Told(word=heard))
        assert len(line) < MAX_LINE


async def test_the_supervisor_knows_the_last_answer_of_whom_it_asks() -> None:
    wakes: list[int] = []
    async with agent(a_word(VIP)) as port:
        supervisor = ProbeSupervisor(lambda: wakes.append(1), word_port=port, boot_clock=lambda: 42.0)
        supervisor.ask({SERVER})
        task = asyncio.create_task(supervisor.run())
        await until(lambda: SERVER in _answers(supervisor))
        assert _answers(supervisor) == {SERVER: Answer(heard=42.0, carried=frozenset({VIP}))}
        assert wakes
        supervisor.ask(frozenset())
        assert _answers(supervisor) == {}
        supervisor.ask({SERVER})
        assert _answers(supervisor) == {}
        await until(lambda: SERVER in _answers(supervisor))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_killed_process_asks_again_when_it_is_back() -> None:
    async with agent(a_word(VIP)) as port:
        clock = [0.0]
        supervisor = ProbeSupervisor(lambda: None, word_port=port, boot_clock=lambda: clock[0])
        supervisor.ask({SERVER})
        task = asyncio.create_task(supervisor.run())
        await until(lambda: SERVER in _answers(supervisor))
        assert supervisor._process is not None
        supervisor._process.kill()
        await until(lambda: supervisor.restarts == 1)
        clock[0] = 9.0
        await until(lambda: _answers(supervisor)[SERVER].heard == 9.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_without_a_port_nobody_is_asked() -> None:
    supervisor = ProbeSupervisor(lambda: None)
    supervisor.ask({SERVER})
    assert supervisor.words() is None


def _answers(supervisor: ProbeSupervisor) -> dict[object, Answer]:
    words = supervisor.words()
    assert words is not None
    return dict(words.answers)
