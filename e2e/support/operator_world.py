"""A control plane of one's own with an operator and stand-ins for the agents: what the operator's tests start from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from lvs_api.kinds import DIRECTOR_GROUP, NODE, REAL_SERVER_POOL, SERVICE_SLICE, VIRTUAL_SERVICE, Kind
from lvs_api.testing import director_group, real_server_pool, virtual_service
from lvs_lab.waiting import wait_for
from support.api_server import MERGE, Answer, ApiServer, running_api_server
from support.chart_release import OPERATOR, POLICIES, RIGHTS, account_token, install_parts
from support.fake_agents import FakeAgents
from support.operator_process import NAMESPACE

DEADLINE: Final = 60.0
INTERVAL: Final = 0.1
_EDITS: Final = 5
"""The operator writes a status once for a change."""
DIRECTORS: Final = {"d1": "192.168.4.1", "d2": "192.168.4.2"}
SERVERS: Final = {"s1": "192.168.4.100", "s2": "192.168.4.200"}
GENERATED: Final = (SERVICE_SLICE, NODE)
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The API server and who writes to it besides the operator."""

    server: ApiServer
    agents: FakeAgents
    directory: Path
    operator_kubeconfig: Path
    """Credentials of the operator's ServiceAccount; others may do its work only where the policies are not in force."""

    def items(self, kind: Kind[Any, Any]) -> list[Json]:
        """All objects of a kind."""
        body = self.server.request("GET", f"/apis/lvs-operator.io/v1alpha1/{kind.plural}").raise_for_status()
        items: list[Json] = body["items"]
        return items

    def names(self, kind: Kind[Any, Any]) -> set[str]:
        """The names of all objects of a kind."""
        return {item["metadata"]["name"] for item in self.items(kind)}

    def status(self, raw: Mapping[str, Any]) -> Json:
        """An object's status as it is now."""
        status: Json = self.server.get(raw).raise_for_status().get("status", {})
        return status

    def condition(self, raw: Mapping[str, Any], condition: str) -> tuple[str, str]:
        """Status and reason of a condition; empty where there is none."""
        found = [one for one in self.status(raw).get("conditions", ()) if one["type"] == condition]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def wait_condition(self, raw: Mapping[str, Any], condition: str, status: str, reason: str | None = None) -> None:
        """Wait until an object says something."""

        def says() -> bool:
            found = self.condition(raw, condition)
            assert found == (status, reason or found[1]), self.status(raw).get("conditions")
            return True

        what = f"{raw['metadata']['name']} to say {condition}={status} {reason or ''}"
        wait_for(says, DEADLINE, what, interval=INTERVAL)

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for anything."""
        wait_for(condition, DEADLINE, what, interval=INTERVAL)

    def create_web(self, name: str = "web", vip: str = "192.168.4.15") -> tuple[Json, Json]:
        """A service and its pool of the two server nodes, by address."""
        pool = self.server.create(real_server_pool(name)).raise_for_status()
        service = self.server.create(virtual_service(name, addresses=[vip])).raise_for_status()
        return service, pool

    def edit(self, raw: Mapping[str, Any], **spec: object) -> Json:
        """Change fields of an object's spec, as a user does: again where the operator wrote its status meanwhile."""
        answer = self._edit_once(raw, spec)
        for _ in range(_EDITS):
            if answer.status != HTTPStatus.CONFLICT:
                break
            answer = self._edit_once(raw, spec)
        return answer.raise_for_status()

    def _edit_once(self, raw: Mapping[str, Any], spec: Mapping[str, object]) -> Answer:
        current = self.server.get(raw).raise_for_status()
        return self.server.replace({**current, "spec": {**current["spec"], **spec}})

    def generated(self) -> dict[str, tuple[str, Json]]:
        """Every object that the operator made, by kind and name: uid and spec."""
        return {
            f"{kind.name} {item['metadata']['name']}": (item["metadata"]["uid"], item["spec"])
            for kind in GENERATED
            for item in self.items(kind)
        }


@contextmanager
def world(
    directory: Path,
    *,
    crds: bool = True,
    policies: bool = False,
    report_seconds: float = 0.1,
    extra_flags: tuple[str, ...] = (),
) -> Iterator[World]:
    """Namespace, Nodes, the default group, agents, the chart's rights and, if asked for, policies; no operator yet."""
    with ExitStack() as stack:
        server = stack.enter_context(running_api_server(directory / "server", extra_flags=extra_flags))
        if crds:
            server.install_crds()
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}).raise_for_status()
        for name, address in {**DIRECTORS, **SERVERS}.items():
            _make_node(server, name, address)
        if crds:
            server.create(director_group()).raise_for_status()
        install_parts(server, RIGHTS | POLICIES if policies else RIGHTS)
        token = account_token(server, OPERATOR)
        yield World(
            server=server,
            agents=stack.enter_context(FakeAgents(server, report_seconds=report_seconds)),
            directory=directory,
            operator_kubeconfig=server.write_kubeconfig(directory / "operator.kubeconfig", token=token),
        )


def _make_node(server: ApiServer, name: str, address: str) -> None:
    labels = {"lvs-director": "true"} if name in DIRECTORS else {"app": "web"}
    server.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}}).raise_for_status()
    status = {
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}],
    }
    path = f"/api/v1/nodes/{name}/status"
    server.request("PATCH", path, {"status": status}, content_type=MERGE).raise_for_status()


USER_KINDS: Final = (VIRTUAL_SERVICE, REAL_SERVER_POOL, DIRECTOR_GROUP)
