"""The operator's own HTTP endpoint."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from kernel_without_ipv6 import needs_filters, run_without_ipv6

from lvs_operator.health_endpoint import HealthEndpoint
from lvs_operator.settings import Listen


def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


def made(host: str) -> HealthEndpoint:
    return HealthEndpoint(Listen(host=host, port=0), health=lambda: None, readiness=lambda: "not yet")


@contextmanager
def answering(endpoint: HealthEndpoint) -> Iterator[HealthEndpoint]:
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_tells_health_and_readiness_apart(host: str) -> None:
    with answering(made(host)) as endpoint:
        assert ask(endpoint.port, "/healthz", host) == (200, "ok\n")
        assert ask(endpoint.port, "/readyz", host) == (503, "not yet\n")
        assert ask(endpoint.port, "/", host)[0] == 404
        status, text = ask(endpoint.port, "/metrics", host)
        assert status == 200
        assert "lvs_operator_leading" in text


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_an_address_is_that_address_and_no_other(host: str, other: str) -> None:
    with answering(made(host)) as endpoint, pytest.raises(ConnectionRefusedError):
        ask(endpoint.port, "/healthz", other)


def test_without_an_address_it_answers_on_those_of_both_families(caplog: pytest.LogCaptureFixture) -> None:
    """The kubelet asks a pod at its first address, which is one of IPv6 in some clusters."""
    with answering(made("")) as endpoint:
        assert [ask(endpoint.port, "/healthz", host)[0] for host in ("127.0.0.1", "::1")] == [200, 200]
    assert caplog.messages == []


@needs_filters
def test_where_the_kernel_has_no_ipv6_it_says_so_and_answers_by_ipv4(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), answering(run_without_ipv6(lambda: made(""))) as endpoint:
        assert ask(endpoint.port, "/healthz")[0] == 200
        with pytest.raises(ConnectionRefusedError):
            ask(endpoint.port, "/healthz", "::1")
    assert caplog.messages == ["this kernel has no IPv6: metrics and health are served by IPv4 only"]
