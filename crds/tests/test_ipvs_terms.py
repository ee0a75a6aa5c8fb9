"""What the reference says of the kernel and of ipvsadm; that it is all of ipvsadm is tried in a lab."""

import re
import sys
from typing import Annotated, Any, get_args

import pytest
from pydantic import Field

from lvs_api.api_reference import api_reference
from lvs_api.base import ApiModel
from lvs_api.ipvs_terms import ELSEWHERE, Ipvs, terms_of
from lvs_api.kinds import ADDRESS_POOL, ALL_KINDS, USER_KINDS, Kind
from lvs_api.node_settings import IpvsSysctls
from lvs_api.structural_schema import structural_schema

ROW = re.compile(r"\| `(?P<path>[^`]+)` \|")


class Inner(ApiModel):
    """Something inside."""

    plain: bool = False
    """Of ours alone."""
    marked_word: Annotated[bool | None, Ipvs("INNER", ("--inner",))] = None
    """Of the kernel, too."""


class Switches(ApiModel):
    """A directory of sysctls."""

    sysctl_directory = "net.some.where"

    one_switch: bool | None = None
    """One."""


class Outer(ApiModel):
    """All the ways to hold something."""

    one: Annotated[Inner | None, Ipvs("OUTER")] = None
    """Perhaps."""
    many: Annotated[list[Inner], Field(max_length=3)] | None = None
    """Several."""
    switches: Switches = Switches()
    """Always."""


def test_marks_are_found_wherever_a_field_can_stand() -> None:
    inner = Ipvs("INNER", ("--inner",))
    assert list(terms_of(Outer)) == [
        ("one", Ipvs("OUTER")),
        ("one.markedWord", inner),
        ("many[].markedWord", inner),
        ("switches.oneSwitch", Ipvs("net.some.where.one_switch")),
    ]


def test_marks_do_not_reach_a_schema() -> None:
    assert "INNER" not in str(structural_schema(Outer))


def section(name: str) -> list[str]:
    text = api_reference(ALL_KINDS).split(f"### {name}\n")[1]
    return re.split(r"\n#{2,3} ", text)[0].splitlines()


@pytest.mark.parametrize("kind", USER_KINDS, ids=lambda kind: kind.name)
def test_each_term_stands_in_the_row_of_its_field(kind: Kind[Any, Any]) -> None:
    rows = {found["path"]: line for line in section(f"{kind.name}.spec") if (found := ROW.match(line))}
    terms = dict(terms_of(kind.spec))
    assert bool(terms) == (kind is not ADDRESS_POOL)
    assert terms.keys() <= rows.keys()
    for path, term in terms.items():
        for word in (*term.kernel.split(", "), *term.options):
            assert f"`{word}`" in rows[path]


def test_every_sysctl_is_named() -> None:
    terms = dict(terms_of(next(kind.spec for kind in USER_KINDS if kind.name == "LvsDirectorGroup")))
    named = {term.kernel for term in terms.values()}
    assert named >= {f"net.ipv4.vs.{name}" for name in IpvsSysctls.model_fields}


def marks_within(annotation: Any) -> list[Ipvs]:
    inner = [mark for part in get_args(annotation) for mark in marks_within(part)]
    return [mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Ipvs)] + inner


def test_no_mark_stands_where_it_is_not_found() -> None:
    assert marks_within(Annotated[int, Ipvs("A")] | None) == [Ipvs("A")]
    models = [
        model for name in sys.modules if name.startswith("lvs_api.") for model in vars(sys.modules[name]).values()
    ]
    ours = [model for model in models if isinstance(model, type) and issubclass(model, ApiModel)]
    assert len(ours) > 20
    assert not [
        (model.__name__, name)
        for model in ours
        for name, field in model.model_fields.items()
        if marks_within(field.annotation)
    ]


def test_an_option_is_a_fields_or_said_elsewhere() -> None:
    named = {option for kind in USER_KINDS for _, term in terms_of(kind.spec) for option in term.options}
    assert named.isdisjoint(ELSEWHERE)
    assert all(option.startswith("--") for option in named)
    text = api_reference(ALL_KINDS)
    assert all(f"| `{option}` | {instead} |" in text for option, instead in ELSEWHERE.items())
