"""Quorum: how much of a virtual service's real servers must be in use for it to count as served."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lvs_api.base import ApiModel, Rule

_MAX_WEIGHT = 2147483647


class BelowQuorum(StrEnum):
    """What becomes of the addresses of a service that is below its quorum."""

    KEEP_ADDRESS = "KeepAddress"
    WITHDRAW_ADDRESS = "WithdrawAddress"


class Quorum(ApiModel):
    """The service is served while real servers of at least this weight in all are in use, as a director sees it."""

    weight: Annotated[int, Field(ge=1, le=_MAX_WEIGHT)] = 1
    """Sum of the weights of real servers that are in use: prepared, passing their check, and not leaving."""
    hysteresis: Annotated[int, Field(ge=0, le=_MAX_WEIGHT)] = 0
    """A service is below quorum when its sum falls below `weight` less this, and is no longer when the sum reaches
    `weight` and this; less than `weight`."""
    below: BelowQuorum = BelowQuorum.KEEP_ADDRESS
    """KeepAddress: the status says so, and nothing else changes. WithdrawAddress: a director that sees this service,
    and every other one of the address, below a quorum with WithdrawAddress does not carry the address. By VRRP it lets
    go of the virtual router when that is so of all its addresses, and another director, that sees more, takes it."""

    rules = (
        Rule(
            cel="(has(self.hysteresis) ? self.hysteresis : 0) < (has(self.weight) ? self.weight : 1)",
            check=lambda self: self.hysteresis < self.weight,
            message="hysteresis must be less than weight: the sum can not fall below 0",
            field="hysteresis",
        ),
    )
