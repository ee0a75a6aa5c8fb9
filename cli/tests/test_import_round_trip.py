"""What `kubectl lvs import` makes of a table, read back: what a director is told then, as export writes it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from lvs_cli.table_objects import TableObjects
from lvs_core.manifests import read_manifests
from support.saved_tables import DAMAGES, Block, Damage, lines_of, spelled_otherwise, tables
from support.table_objects import exported, imported


@given(table=tables(), data=st.data())
def test_a_table_comes_back_as_it_was(table: list[Block], data: st.DataObject) -> None:
    objects = imported(lines_of(table))
    assert (objects.losses, objects.notes) == ((), ())
    assert exported(objects) == sorted(lines_of(table))
    shuffled = data.draw(st.permutations(table))
    assert imported(lines_of(shuffled)) == objects
    otherwise = [data.draw(spelled_otherwise(line)) for line in lines_of(shuffled)]
    assert imported(otherwise) == objects


@given(table=tables(), damage=st.sampled_from(DAMAGES), data=st.data())
def test_what_can_not_be_said_is_named_and_nothing_else_is_lost(
    table: list[Block], damage: Damage, data: st.DataObject
) -> None:
    before = lines_of(table[: data.draw(st.integers(0, len(table)))])
    lines = [*before, *damage.lines, *lines_of(table)[len(before) :]]
    objects = imported(lines)
    named = [int(number) for loss in objects.losses for number in re.findall(r"^line (\d+): ", loss)]
    assert sorted(named) == sorted(len(before) + 1 + place for place in damage.lost)
    assert exported(objects) == sorted([*lines_of(table), *damage.kept])


@given(table=tables())
def test_what_is_equal_is_said_once(table: list[Block]) -> None:
    """No two pools are equal, and no two services of an address that could be one."""
    objects = imported(lines_of(table))
    specs = [(raw["kind"], raw["spec"]) for raw in objects.documents]
    pools = [str(spec["realServers"]) for kind, spec in specs if kind == "LvsRealServerPool"]
    assert len(pools) == len(set(pools))
    apart = [
        str({name: value for name, value in spec.items() if name != "ports"})
        for kind, spec in specs
        if kind == "LvsVirtualService" and not has_own_ports(objects, spec["realServerPoolRef"]["name"])
    ]
    assert len(apart) == len(set(apart))
    names = [(raw["kind"], raw["metadata"]["name"]) for raw in objects.documents]
    assert len(names) == len(set(names))


def has_own_ports(objects: TableObjects, pool: str) -> bool:
    view = read_manifests(objects.documents)
    found = next(one for key, one in view.pools.items() if key.name == pool)
    return found.spec is not None and any(server.port is not None for server in found.spec.real_servers)


def test_many_ports_and_many_servers() -> None:
    table = [
        line
        for port in range(1, 41)
        for line in (f"-A -t 192.168.4.15:{port} -s wlc", f"-a -t 192.168.4.15:{port} -r 192.168.4.100:{port} -g -w 1")
    ]
    objects = imported(table)
    assert exported(objects) == sorted(table)
    assert [raw["metadata"]["name"] for raw in objects.documents] == [
        "vip-192-168-4-15-tcp-1",
        "vip-192-168-4-15-tcp-1",
        "vip-192-168-4-15-tcp-33",
    ]
    large = "-t 192.168.4.16:80"
    servers = [f"-a {large} -r 10.0.{one // 200}.{one % 200 + 1}:80 -g -w 1" for one in range(257)]
    whole = imported([f"-A {large} -s wlc", *servers[:256]])
    assert exported(whole) == sorted([f"-A {large} -s wlc", *servers[:256]])
    (loss,) = imported([*table, f"-A {large} -s wlc", *servers]).losses
    assert loss.startswith("line 81: TCP 192.168.4.16:80 is left out: 257 real servers are left")
