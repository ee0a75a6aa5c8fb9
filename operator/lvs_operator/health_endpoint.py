"""Serves /metrics, /healthz and /readyz from a thread, so that a long round does not hold up a probe."""

import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, AddressFamily, has_dualstack_ipv6
from socketserver import TCPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from lvs_operator.metrics import REGISTRY
from lvs_operator.settings import Listen

logger = logging.getLogger(__name__)

Complaint = Callable[[], str | None]
"""None: all is well; else what is not."""


class HealthEndpoint:
    """A small HTTP server; `start` begins to answer, `stop` ends it."""

    def __init__(self, listen: Listen, *, health: Complaint, readiness: Complaint) -> None:
        """Listen; without a host on every address of both families. Raises OSError where that can not be had."""
        self._server = _server_class(listen)((listen.host, listen.port), _handler(health, readiness))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on; differs from the setting where that is 0."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _server_class(listen: Listen) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = _family(listen.host)

        def server_bind(self) -> None:
            """Bind, and look no name up: http.server asks for this host's, which nobody here needs."""
            if not listen.host and self.address_family is AF_INET6:
                self.socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)  # whatever net.ipv6.bindv6only says
            TCPServer.server_bind(self)

    return Server


def _family(host: str) -> AddressFamily:
    """Of the socket. One of IPv6 hears IPv4, too: kubelets ask a pod at its first address, whichever family has it."""
    if host:
        return AF_INET6 if ":" in host else AF_INET
    if has_dualstack_ipv6():
        return AF_INET6
    logger.warning("this kernel has no IPv6: metrics and health are served by IPv4 only")
    return AF_INET


def _handler(health: Complaint, readiness: Complaint) -> type[BaseHTTPRequestHandler]:
    complaints = {"/healthz": health, "/readyz": readiness}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
            elif self.path in complaints:
                complaint = complaints[self.path]()
                status = HTTPStatus.OK if complaint is None else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, f"{complaint or 'ok'}\n".encode(), "text/plain; charset=utf-8")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain; charset=utf-8")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # noqa: ANN401 -- the signature of http.server
            """Probes are not worth a line."""

    return Handler
