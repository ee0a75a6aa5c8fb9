"""The operator's own HTTP endpoint."""

from http.client import HTTPConnection

import pytest

from lvs_operator.health_endpoint import HealthEndpoint
from lvs_operator.settings import Listen


def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_tells_health_and_readiness_apart(host: str) -> None:
    endpoint = HealthEndpoint(Listen(host=host, port=0), health=lambda: None, readiness=lambda: "not yet")
    endpoint.start()
    try:
        assert ask(endpoint.port, "/healthz", host) == (200, "ok\n")
        assert ask(endpoint.port, "/readyz", host) == (503, "not yet\n")
        assert ask(endpoint.port, "/", host)[0] == 404
        status, text = ask(endpoint.port, "/metrics", host)
        assert status == 200
        assert "lvs_operator_leading" in text
    finally:
        endpoint.stop()
