"""Asks the API server about what is gone: whether the services are gone too, and whether our kinds are whole.

One round of questions for everything that is asked together; asked again, more and more seldom, while something is
held, and at once when there is more to ask.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lvs_agent.decide.absence import LookUps, Owner, OwnerAnswer
from lvs_agent.decide.faults import Fault
from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused
from lvs_api.api_group import API_VERSION, GROUP
from lvs_api.conditions import ConditionStatus, ConditionType, Reason
from lvs_api.kinds import ALL_KINDS, SERVICE_SLICE, VIRTUAL_SERVICE, Kind

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_AT_ONCE: Final = 8
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0
Raw = dict[str, Any]


class RemovalCheck:
    """Owner of the questions. `wake` is called when there are answers."""

    def __init__(self, api: ApiConnection, wake: Callable[[], None]) -> None:
        self._api = api
        self._wake = wake
        self._wanted: frozenset[Owner] = frozenset()
        self._asked: frozenset[Owner] = frozenset()
        self._more = asyncio.Event()
        self.answers: LookUps | None = None
        """The last ones; None while nothing has been asked since the last time that nothing was to be asked."""

    def want(self, owners: frozenset[Owner]) -> None:
        """Ask about these from now on; about nothing where there are none."""
        self._wanted = owners
        if not owners:
            self.answers = None
            self._asked = frozenset()
        elif not owners <= self._asked:
            self._more.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        delay = _FIRST_DELAY
        while True:
            try:
                async with asyncio.timeout(delay if self._wanted else None):
                    await self._more.wait()
                delay = _FIRST_DELAY
            except TimeoutError:
                delay = min(2 * delay, _LONGEST_DELAY)
            self._more.clear()
            self._asked = self._wanted
            if self._asked:
                answers = await self._look_up(self._asked)
                self.answers = answers if self._wanted else None
                self._wake()

    async def _look_up(self, owners: Iterable[Owner]) -> LookUps:
        """Owners, and our kinds after them: an owner that was gone while those were whole was deleted by a user.

        Where they are not whole to begin with nobody's owner matters.
        """
        try:
            problem = _crd_problem(await self._crds())
            if problem is not None:
                return LookUps(problem=problem)
            answers = await self._owners(owners)
            crds = await self._crds()
        except ApiUnavailable as error:
            message = f"it is gone, and why cannot be looked up: {error}"
            return LookUps(problem=Fault(reason=Reason.LOOK_UP_FAILED, message=message))
        return LookUps(owners=answers, kinds_made=_later(crds), problem=_crd_problem(crds))

    async def _crds(self) -> Mapping[Kind[Any, Any], Raw | None]:
        return {kind: await self._get(f"{CRDS}/{kind.plural}.{GROUP}") for kind in ALL_KINDS}

    async def _owners(self, owners: Iterable[Owner]) -> Mapping[Owner, OwnerAnswer]:
        """All of them. Raises ApiUnavailable where one of them cannot be read."""
        limit = asyncio.Semaphore(_AT_ONCE)
        answers: dict[Owner, OwnerAnswer] = {}
        failures: list[Exception] = []

        async def ask(owner: Owner) -> None:
            async with limit:
                answers[owner] = await self._owner(owner)

        try:
            async with asyncio.TaskGroup() as asking:
                for owner in owners:
                    asking.create_task(ask(owner))
        except* ApiUnavailable as errors:
            failures += errors.exceptions
        if failures:
            raise failures[0]
        return answers

    async def _owner(self, owner: Owner) -> OwnerAnswer:
        namespace, name = owner.service
        raw = await self._get(f"/apis/{API_VERSION}/namespaces/{namespace}/{VIRTUAL_SERVICE.plural}/{name}")
        if raw is None:
            return OwnerAnswer()
        status = raw.get("status") or {}
        counts = status.get("realServers") or {}
        return OwnerAnswer(
            uid=raw["metadata"]["uid"],
            deleting="deletionTimestamp" in raw["metadata"],
            withdrawn=any(_says_withdrawn(one) for one in status.get("conditions") or ()),
            real_servers=counts.get("total"),
        )

    async def _get(self, path: str) -> Raw | None:
        """An object; None where there is none. Raises ApiUnavailable."""
        try:
            found = await self._api.get(path)
        except ApiRefused as error:
            if error.not_found:
                return None
            raise
        if not isinstance(found.get("metadata"), dict) or not found["metadata"].get("uid"):
            raise ApiUnavailable(f"{path}: not an object")
        return found


def _says_withdrawn(condition: Raw) -> bool:
    said = (condition.get("type"), condition.get("status"), condition.get("reason"))
    return said == (ConditionType.ACCEPTED, ConditionStatus.FALSE, Reason.NOT_PERMITTED)


def crd_trouble(crd: Raw | None) -> str | None:
    """Why the objects of a kind may be gone without anybody having deleted one; None where the kind is whole."""
    if crd is None:
        return "is missing"
    conditions = {one.get("type"): one.get("status") for one in (crd.get("status") or {}).get("conditions") or ()}
    if "deletionTimestamp" in crd["metadata"] or conditions.get("Terminating") == "True":
        return "is being deleted"
    if conditions.get("Established") != "True":
        return "is not established"
    return None


def _crd_problem(crds: Mapping[Kind[Any, Any], Raw | None]) -> Fault | None:
    for kind, crd in crds.items():
        if (trouble := crd_trouble(crd)) is not None:
            message = f"it is gone, and CustomResourceDefinition {kind.plural}.{GROUP} {trouble}"
            return Fault(reason=Reason.CRD_MISSING, message=message)
    return None


def _later(crds: Mapping[Kind[Any, Any], Raw | None]) -> str:
    """When the later of the CRDs of services and slices was made."""
    named = [crds[kind] for kind in (VIRTUAL_SERVICE, SERVICE_SLICE)]
    return max(str(crd["metadata"].get("creationTimestamp", "")) if crd else "" for crd in named)
