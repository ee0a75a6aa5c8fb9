"""What fields stand for in the kernel and on ipvsadm's command line: said beside each, read for the reference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic.alias_generators import to_camel

from lvs_api.base import ApiModel


@dataclass(frozen=True, slots=True)
class Ipvs:
    """Marks a field: `Annotated[Type | None, Ipvs(...)]`, not a part of its type, where it would not be found.

    `kernel` is the attribute, flag or file by which the kernel calls it.
    """

    kernel: str
    """A name of linux/ip_vs.h, without the prefix IPVS_ of its attributes, or a sysctl."""
    options: tuple[str, ...] = ()
    """ipvsadm(8)'s, long ones where there are such; none where it can not say it."""


_OF_LIST: Final = (
    "--timeout",
    "--daemon",
    "--stats",
    "--rate",
    "--exact",
    "--thresholds",
    "--persistent-conn",
)
"""Options of `kubectl lvs list` with the same names."""
ELSEWHERE: Final[Mapping[str, str]] = {
    "--add-service": "a LvsVirtualService that is there",
    "--edit-service": "an edit of the LvsVirtualService",
    "--delete-service": "deleting the LvsVirtualService",
    "--add-server": "an entry of the pool's `realServers`, or a Node that its selector finds",
    "--edit-server": "an edit of that entry",
    "--delete-server": "taking it out of the pool",
    "--clear": "nothing: nothing is ever flushed, and `lvs-agent cleanup` removes only what is ours",
    "--restore": "`kubectl lvs import`",
    "--save": "`kubectl lvs export`",
    "--list": "`kubectl lvs list`",
    "--zero": "`kubectl lvs zero`",
    "--stop-daemon": "taking `connectionSync` out of the group",
    "--help": "`kubectl lvs --help`",
    "--connection": "`kubectl lvs list --connections`",
    **{option: f"`kubectl lvs list {option}`" for option in _OF_LIST},
    "--sort": "`kubectl lvs list --sort=connections`",
    "--numeric": "`kubectl lvs list`, which never looks up names",
    "--nosort": "`kubectl lvs list`, which sorts by the entries' keys or as `--sort` says",
    "--tun-info": "`kubectl lvs list --output=json`",
}
"""The options that no field of a spec stands for, and what does the same, or why there is none."""


def terms_of(model: type[ApiModel], prefix: str = "") -> Iterator[tuple[str, Ipvs]]:
    """The marked fields of a type and of what it holds, each by its path as the reference writes it."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{to_camel(name)}"
        for mark in field.metadata:
            if isinstance(mark, Ipvs):
                yield path, mark
        if model.sysctl_directory is not None:
            yield path, Ipvs(f"{model.sysctl_directory}.{name}")
        for inner, is_listed in _models_in(field.annotation):
            yield from terms_of(inner, f"{path}[]." if is_listed else f"{path}.")


def _models_in(annotation: Any, *, is_listed: bool = False) -> Iterator[tuple[type[ApiModel], bool]]:  # noqa: ANN401 -- types
    """The types of the API that an annotation names, and whether below a list."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation, is_listed
    origin_is_list = getattr(annotation, "__origin__", None) is list
    for part in get_args(annotation):
        yield from _models_in(part, is_listed=is_listed or origin_is_list)
