"""Writes that failed wait for their turn, and wake nobody before it, nor for a turn that they are not given."""

from typing import Any, cast

from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.errors import ApiUnavailableError
from lvs_operator.watched_kinds import POOLS, Meta
from lvs_operator.writer import ReplacePart, Writer

META = Meta(namespace="default", name="web", uid="u", version=1)
WRITE = ReplacePart(kind=POOLS, meta=META, part="status", value={"members": 1})


class InTrouble:
    """An API server that answers every write with 500."""

    asked = 0

    async def patch(self, path: str, *_: object, **__: object) -> dict[str, Any]:
        self.asked += 1
        raise ApiUnavailableError(f"PATCH {path}", "500", status=500)


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
