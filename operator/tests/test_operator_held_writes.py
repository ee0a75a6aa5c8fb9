"""Writes that failed wait for their turn, and wake nobody before it, nor for a turn that they are not given."""

from typing import Any, cast

import pytest

from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.errors import ApiError, ApiForbiddenError, ApiRejectedError, ApiUnavailableError
from lvs_operator.watched_kinds import POOLS, Meta
from lvs_operator.writer import ReplacePart, Writer

META = Meta(namespace="default", name="web", uid="u", version=1)
WRITE = ReplacePart(kind=POOLS, meta=META, part="status", value={"members": 1})


class InTrouble:
    """An API server that answers every write with 500."""

    asked = 0
    error: ApiError = ApiUnavailableError("PATCH it", "500", status=500)

    async def patch(self, *_: object, **__: object) -> dict[str, Any]:
        self.asked += 1
        raise self.error

    async def get(self, _: str) -> dict[str, Any]:
        return {"metadata": {"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "1"}}


async def test_a_held_write_that_a_round_keeps_back_does_not_make_it_due() -> None:
    client = InTrouble()
    writer = Writer(cast("ApiClient", client), Cache((POOLS,)), lambda: None)

    async def a_round(*writes: ReplacePart) -> float | None:
        writer.keep_only({WRITE.key})
        await writer.carry_out(writes)
        return writer.next_try()

    due = await a_round(WRITE)
    assert due is not None
    assert await a_round(WRITE) == due
    assert await a_round() is None
    assert await a_round(WRITE) == due
    assert client.asked == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ApiForbiddenError("PATCH it", "403 exceeded quota", status=403), "PATCH it: 403 exceeded quota"),
        (ApiRejectedError("PATCH it", "422 not so", status=422), "PATCH it: 422 not so"),
        (ApiUnavailableError("PATCH it", "500", status=500), None),
    ],
)
async def test_what_was_refused_is_told_until_it_is_not_wanted_any_more(error: ApiError, told: str | None) -> None:
    client = InTrouble()
    client.error = error
    writer = Writer(cast("ApiClient", client), Cache((POOLS,)), lambda: None)
    await writer.carry_out([WRITE])
    assert writer.refused() == ({} if told is None else {WRITE.key: told})
    writer.keep_only(())
    assert writer.refused() == {}
