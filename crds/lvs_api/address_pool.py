"""LvsAddressPool: addresses for the services of some namespaces, and the real servers that may be behind them."""

from typing import Annotated, Final

from pydantic import Field

from lvs_api.base import ApiModel, Rule
from lvs_api.conditions import Condition
from lvs_api.network_types import (
    AddressRange,
    Count,
    Generation,
    LabelSelector,
    MarkValue,
    NamespaceName,
    UsableAddressRange,
)

MAX_RANGES: Final = 32


class PermittedNamespaces(ApiModel):
    """Namespaces, by name or by label."""

    names: (
        Annotated[list[NamespaceName], Field(min_length=1, max_length=64, json_schema_extra={"x-lvs-list-set": True})]
        | None
    ) = None
    """By their names."""
    selector: LabelSelector | None = None
    """By their labels; `{}` stands for every namespace."""

    rules = (
        Rule(
            cel="has(self.names) != has(self.selector)",
            check=lambda self: (self.names is None) != (self.selector is None),
            message="exactly one of names and selector is needed; selector {} stands for every namespace",
            field="",
        ),
    )


class LvsAddressPoolSpec(ApiModel):
    """What services of which namespaces may have. What several pools permit adds up.

    Nothing has a meaning by its absence here: whoever makes the first pool takes from every namespace what he does not
    name.
    """

    ranges: Annotated[
        list[UsableAddressRange],
        Field(min_length=1, max_length=MAX_RANGES, json_schema_extra={"x-lvs-list-set": True}),
    ]
    """Addresses that services may name, and that `addressPoolRef` gives out: CIDRs (192.0.2.0/26), or the first and the
    last one (192.0.2.10-192.0.2.20). The first and the last address of an IPv4 CIDR and the first of an IPv6 CIDR are
    not given out, for they may be those of a network; a service may name them."""
    namespaces: PermittedNamespaces
    """Whose services."""
    real_server_ranges: Annotated[
        list[AddressRange], Field(min_length=1, max_length=MAX_RANGES, json_schema_extra={"x-lvs-list-set": True})
    ]
    """Where the real servers of these services may be, in the same spelling; 0.0.0.0/0 and ::/0 stand for anywhere."""
    firewall_marks: (
        Annotated[list[MarkValue], Field(min_length=1, max_length=64, json_schema_extra={"x-lvs-list-set": True})]
        | None
    ) = None
    """Marks that these services may name as `firewallMark`; where absent none."""


class LvsAddressPoolStatus(ApiModel):
    """What the operator makes of it."""

    addresses: Count | None = None
    """How many there are, as far as a number of 31 bits goes."""
    used: Count | None = None
    """Those of them that services have, by name or by `addressPoolRef`."""
    observed_generation: Generation | None = None
    """The generation of the spec that this status speaks of."""
    conditions: (
        Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-lvs-list-key": "type"})] | None
    ) = None
    """Accepted, Ready."""
