"""The real local delivery by marks, by rtnetlink through pyroute2.

For each mark a rule of the routing policy (ip-rule(8)) leads to a table of ours, in which every address is local. It
is looked up after the machine's own addresses and before the main table.
"""

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]  # pyroute2 has no types
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]  # pyroute2 has no types

from lvs_agent.decide.kernel_state import AddressFamily, FirewallMarkKey, LocalDelivery
from lvs_agent.errors import FamilyNotSupported, LinkError, PermissionRefused
from lvs_agent.kernel.host_routes import PROTOCOL

TABLE: Final = 7676
PRIORITY: Final = 176
_WHOLE_MARK: Final = 0xFFFFFFFF
_FAMILIES: Final = {AddressFamily.IPV4: socket.AF_INET, AddressFamily.IPV6: socket.AF_INET6}
_EVERYWHERE: Final = {AddressFamily.IPV4: "0.0.0.0/0", AddressFamily.IPV6: "::/0"}
_GONE: Final = frozenset({errno.ENOENT, errno.ESRCH})
_WITHOUT_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP})


class KernelDeliveryRoutes:
    """`DeliveryRoutes` on the network namespace in which it is first used; from one event loop."""

    def __init__(self) -> None:
        self._iproute: AsyncIPRoute | None = None

    async def read(self) -> LocalDelivery:
        """Ours alone."""
        rules: set[FirewallMarkKey] = set()
        routes: set[AddressFamily] = set()
        for family, number in _FAMILIES.items():
            listed = await self._rules(number)
            if listed is None:
                continue  # the kernel would list another family's routes instead (rtnl_dump_all)
            for rule in listed:
                if _is_ours(rule):
                    rules.add(FirewallMarkKey(family=family, mark=rule.get("fwmark")))
            if await _listed("routes", partial(self._ip().route, "dump", family=number, table=TABLE, proto=PROTOCOL)):
                routes.add(family)
        return LocalDelivery(rules=frozenset(rules), routes=frozenset(routes))

    async def replace(self, marks: Collection[FirewallMarkKey]) -> None:
        """Add what is missing, then take away what is too much."""
        present, wanted = await self.read(), LocalDelivery.of(marks)
        for family in wanted.routes - present.routes:
            await self._route("add", family)
        for mark in sorted(wanted.rules - present.rules, key=str):
            await self._rule("add", mark)
        for mark in sorted(present.rules - wanted.rules, key=str):
            await self._rule("del", mark)
        for family in present.routes - wanted.routes:
            await self._route("del", family)

    async def close(self) -> None:
        """Release the socket."""
        if self._iproute is not None:
            self._iproute.close()
            self._iproute = None

    async def _rules(self, family: int) -> list[Any] | None:
        """Everybody's. None where this kernel has none of the family: it was started with ipv6.disable=1, say."""
        try:
            return await _listed("rules", partial(self._ip().rule, "dump", family=family))
        except FamilyNotSupported:
            return None

    async def _rule(self, verb: str, mark: FirewallMarkKey) -> None:
        request = {
            "family": _FAMILIES[mark.family],
            "priority": PRIORITY,
            "fwmark": mark.mark,
            "fwmask": _WHOLE_MARK,
            "table": TABLE,
            "protocol": PROTOCOL,
        }
        await _done(f"rule for {mark}", verb, partial(self._ip().rule, verb, **request))

    async def _route(self, verb: str, family: AddressFamily) -> None:
        request = {
            "family": _FAMILIES[family],
            "dst": _EVERYWHERE[family],
            "type": "local",
            "scope": "host",
            "oif": socket.if_nametoindex("lo"),
            "table": TABLE,
            "proto": PROTOCOL,
        }
        await _done(f"local route of {family.word}", verb, partial(self._ip().route, verb, **request))

    def _ip(self) -> AsyncIPRoute:
        if self._iproute is None:
            self._iproute = AsyncIPRoute(strict_check=True)
        return self._iproute


def _is_ours(rule: Any) -> bool:  # noqa: ANN401 (pyroute2 has no types)
    """A rule that differs in anything from those that are written here is another's, whatever its number."""
    wanted = {"protocol": PROTOCOL, "table": TABLE, "priority": PRIORITY, "fwmask": _WHOLE_MARK}
    return bool(rule.get("fwmark")) and all(rule.get(name) == value for name, value in wanted.items())


async def _listed(what: str, ask: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What a dump says; a table that was never used has no routes."""
    try:
        return [one async for one in await ask()]
    except NetlinkError as error:
        if error.code in _GONE:
            return []
        if error.code in _WITHOUT_FAMILY:
            raise FamilyNotSupported(f"reading {what}: {os.strerror(error.code)}") from error
        raise LinkError(f"reading {what}: {os.strerror(error.code)}") from error
    except OSError as error:
        raise LinkError(f"reading {what}: {error.strerror or error}") from error


async def _done(what: str, verb: str, ask: Callable[[], Awaitable[Any]]) -> None:
    """One request; what is there already, or gone already, is a success."""
    try:
        await ask()
    except NetlinkError as error:
        if error.code == errno.EPERM:
            raise PermissionRefused(f"{what}: the agent needs CAP_NET_ADMIN") from error
        if error.code != errno.EEXIST if verb == "add" else error.code not in _GONE:
            raise LinkError(f"{what}: {os.strerror(error.code)}") from error
    except OSError as error:
        raise LinkError(f"{what}: {error.strerror or error}") from error
