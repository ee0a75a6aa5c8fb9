"""Settings of IPVS that a node has once for all of its virtual services; an absent field is left as the node has it."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field
from pydantic.alias_generators import to_camel

from lvs_api.base import ApiModel

TimeoutSeconds = Annotated[int, Field(ge=1, le=2147483)]
"""The kernel counts in ticks, as an int: of a thousand ticks a second so many seconds fit (ip_vs_set_timeout)."""


class SettingKey(NamedTuple):
    """One number that a node has once."""

    part: str
    """The field of LvsDirectorGroup.spec that it stands in."""
    name: str
    """The Python name of its own field; for a sysctl that is the kernel's name, too."""

    def __str__(self) -> str:
        return f"{self.part}.{to_camel(self.name)}"


class NodeNumbers(ApiModel):
    """Settings that are numbers or switches, each for itself."""

    def numbers(self, part: str) -> Iterator[tuple[SettingKey, int]]:
        """Those that are set, a switch as 0 or 1."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                yield SettingKey(part, name), int(value)


class Timeouts(NodeNumbers):
    """How long IPVS remembers a connection without packets (`ipvsadm --set tcp tcpfin udp`)."""

    tcp_seconds: TimeoutSeconds | None = None
    """An established TCP connection; the kernel begins with 900."""
    tcp_fin_seconds: TimeoutSeconds | None = None
    """A TCP connection of which a FIN was seen; the kernel begins with 120."""
    udp_seconds: TimeoutSeconds | None = None
    """UDP; the kernel begins with 300."""
