"""Whatever keeps an answer from coming is the API server's absence, and ends nothing."""

import httpx2
import pytest
from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import Cluster, User

from lvs_operator.api_client import ApiClient, BlockingApiClient
from lvs_operator.errors import ApiUnavailableError

ERRORS = [
    httpx2.ConnectTimeout("slow"),
    httpx2.DecodingError("not what it says it is"),
    FileNotFoundError(2, "No such file", "token"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_no_answer(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    config = KubeConfig.from_one(cluster=Cluster(server="http://127.0.0.1:1"), user=User()).get()
    assert config is not None

    def fail(*_: object, **__: object) -> None:
        raise error

    async def fail_later(*_: object, **__: object) -> None:
        raise error

    blocking = BlockingApiClient(config, timeout=1)
    monkeypatch.setattr(blocking._http, "request", fail)
    with pytest.raises(ApiUnavailableError, match="no answer"):
        blocking.request("GET", "/")
    blocking.close()
    async with ApiClient(config) as client:
        monkeypatch.setattr(client._http, "request", fail_later)
        with pytest.raises(ApiUnavailableError, match="no answer"):
            await client.get("/")
