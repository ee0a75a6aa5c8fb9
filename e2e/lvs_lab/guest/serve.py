"""A small server that answers with its node's name: what the lab's real servers run.

It listens first and goes to the background then, so that it accepts connections when the command returns. It runs on
the guest's Python and imports nothing else.

HTTP: any path answers the name and a line end; `/bytes/N` answers N bytes; `/status/N` answers status N; `/client`
answers the peer's address; a request's body is read whole, and its length told in the header `X-Received`. SCTP: the
same as HTTP over one stream. UDP: each datagram is answered with the name.
"""

import argparse
import asyncio
import os
import re
import socket
import sys
from pathlib import Path

HEAD_LIMIT = 65536
BACKLOG = 4096
"""Connections that wait to be accepted; what comes beyond is dropped, and its client tries again a second later."""


def listening_socket(address: str, port: int, *, udp: bool, sctp: bool) -> socket.socket:
    """A bound socket; `*` is every address of both families. The address may appear on the node later."""
    family = socket.AF_INET6 if address == "*" or ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    made = socket.socket(family, kind, socket.IPPROTO_SCTP if sctp else 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address == "*":
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    else:
        made.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
    made.bind(("::" if address == "*" else address, port))
    if not udp:
        made.listen(BACKLOG)
    made.setblocking(False)
    return made


def reply_to(path: str, name: str, peer: str) -> tuple[int, bytes]:
    """Status and body for a path."""
    if found := re.fullmatch(r"/bytes/(\d+)", path):
        return 200, b"x" * int(found[1])
    if found := re.fullmatch(r"/status/(\d{3})", path):
        return int(found[1]), f"{name}\n".encode()
    if path == "/client":
        return 200, f"{peer}\n".encode()
    return 200, f"{name}\n".encode()


class Http:
    """One HTTP server; connections are kept open as HTTP/1.1 says."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.one_request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went, which is its right
        finally:
            writer.close()

    async def one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, _, fields = head.partition("\r\n")
        method, path, version = [*request.split(), "", "", ""][:3]
        headers = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in fields.split("\r\n"))
        }
        length = int(headers.get("content-length", "0"))
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        received = 0
        while received < length:
            chunk = await reader.read(min(65536, length - received))
            if not chunk:
                return False
            received += len(chunk)
        peer = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
        status, body = reply_to(path, self.name, peer)
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        writer.write(
            f"HTTP/1.1 {status} Lab\r\nContent-Length: {len(body)}\r\nX-Received: {received}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
        )
        if method != "HEAD":
            writer.write(body)
        await writer.drain()
        return keep


class Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram with the name."""

    def __init__(self, name: str) -> None:
        self.answer = f"{name}\n".encode()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, _: bytes, addr: tuple) -> None:
        self.transport.sendto(self.answer, addr)


async def serve_for_ever(made: socket.socket, name: str, *, udp: bool) -> None:
    """Serve until the process is ended."""
    if udp:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: Datagrams(name), sock=made)
        await loop.create_future()
    else:
        # asyncio listens once more, by default with a shorter queue.
        server = await asyncio.start_server(Http(name).serve, sock=made, limit=HEAD_LIMIT, backlog=BACKLOG)
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="*", help="address to bind; * is every one of both families")
    parser.add_argument("--port", type=int, required=True)
    protocol = parser.add_mutually_exclusive_group()
    protocol.add_argument("--udp", action="store_true", help="answer datagrams instead of HTTP")
    protocol.add_argument("--sctp", action="store_true", help="speak HTTP over SCTP instead of TCP")
    parser.add_argument("--name", default=socket.gethostname())
    parser.add_argument("--pid-file", required=True)
    options = parser.parse_args()
    try:
        made = listening_socket(options.address, options.port, udp=options.udp, sctp=options.sctp)
    except OSError as error:
        sys.exit(f"serve: {options.address} port {options.port}: {error.strerror}")
    if child := os.fork():
        Path(options.pid_file).write_text(f"{child}\n")
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    asyncio.run(serve_for_ever(made, options.name, udp=options.udp))


if __name__ == "__main__":
    main()
