"""Services of type LoadBalancer as the API server hands them out, and a cluster in which what they ask for is made."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from core_objects import address_pool, director, group, node
from endpoint_objects import HTTP, endpoint_slice, tell
from simulated_cluster import SimulatedCluster

from lvs_api.objects import ObjectMeta, OwnerReference
from lvs_api.virtual_service import LvsVirtualServiceSpec
from lvs_core.cluster_view import ObjectKey, Pool, VirtualService
from lvs_core.decision import Decision
from lvs_core.endpoints import core_service_from_raw
from lvs_core.load_balancers import FormerLoadBalancer, LoadBalancer, load_balancer_from_raw
from lvs_core.view_objects import pool_spec

PREFIX = "lvs-operator.io"
WEB = ObjectKey("default", "web")
HOSTNAME = "kubernetes.io/hostname"
Json = dict[str, Any]


def balanced(
    annotations: Mapping[str, str] | None = None, *, name: str = "web", uid: str = "u", **spec: object
) -> Json:
    """A Service of our class with one port; annotations without our prefix, `spec` laid over, None leaves out."""
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080, "targetPort": 8080}]
    base: Json = {
        "type": "LoadBalancer",
        "loadBalancerClass": "lvs-operator.io/lvs",
        "ports": ports,
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "externalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
    }
    told = {f"{PREFIX}/{key}": value for key, value in (annotations or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "resourceVersion": "1", "annotations": told},
        "spec": {key: value for key, value in {**base, **spec}.items() if value is not None},
        "status": {"loadBalancer": {}},
    }


def read(raw: Json) -> LoadBalancer:
    found = load_balancer_from_raw(raw)
    assert isinstance(found, LoadBalancer)
    return found


def read_former(raw: Json) -> FormerLoadBalancer:
    found = load_balancer_from_raw(raw)
    assert isinstance(found, FormerLoadBalancer)
    return found


class BalancedCluster(SimulatedCluster):
    """Two directors d1 and d2, two nodes n1 and n2; what is decided for Services is written, by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.raw_services: dict[ObjectKey, Json] = {}
        self.keeps: Callable[[LvsVirtualServiceSpec], LvsVirtualServiceSpec] | None = None
        """What a mutating policy makes of virtual services."""
        for number in (1, 2):
            one = director(f"d{number}", f"192.168.4.{4 + number}")
            self.add_node(replace(one, labels={**one.labels, HOSTNAME: f"host-d{number}"}))
            self.add_node(node(f"n{number}", f"192.168.4.{number}00"))
        self.put(group(self))
        self.put(address_pool(self, ranges=["192.168.4.64/26"]))
        tell(self, endpoint_slice({"10.1.0.1": None, "10.1.0.2": None}, HTTP, service="web"))

    def say(self, raw: Json) -> None:
        """A Service is made or edited; its status stays."""
        key = ObjectKey(raw["metadata"]["namespace"], raw["metadata"]["name"])
        before = self.raw_services.get(key)
        same = before is not None and before["metadata"]["uid"] == raw["metadata"]["uid"]
        self.raw_services[key] = {**raw, "status": before["status"]} if before is not None and same else raw
        self._read_services()

    def unsay(self, key: ObjectKey = WEB) -> None:
        """A Service is deleted."""
        del self.raw_services[key]
        self._read_services()

    def status(self, key: ObjectKey = WEB) -> Json:
        status: Json = self.raw_services[key]["status"]
        return status

    def ingress(self, key: ObjectKey = WEB) -> list[str]:
        """The addresses that a Service tells, each with its mode."""
        return [f"{one['ip']} {one['ipMode']}" for one in self.status(key)["loadBalancer"].get("ingress", ())]

    def says(self, key: ObjectKey = WEB) -> dict[str, str]:
        """Our conditions on a Service, in short."""
        own = [one for one in self.status(key).get("conditions", ()) if one["type"].startswith(f"{PREFIX}/")]
        return {one["type"].removeprefix(f"{PREFIX}/"): f"{one['status']} {one['reason']}" for one in own}

    def message(self, key: ObjectKey = WEB) -> str:
        """Of the condition Accepted."""
        (found,) = (one for one in self.status(key)["conditions"] if one["type"] == f"{PREFIX}/Accepted")
        return str(found["message"])

    def round(self) -> Decision:
        """Losses are written, too, the order being that of the operator: it makes first and takes away last."""
        decision = super().round()
        for key, made in decision.owned.made.items():
            pool, service = self.pools.get(key), self.services.get(key)
            if pool is None or pool.spec != pool_spec(made.pool):
                self.put(Pool(meta=self._made_meta(key, made.owner_uid), spec=pool_spec(made.pool)))
            if service is None or service.spec != made.service:
                meta = self._made_meta(key, made.owner_uid)
                there = {**meta.labels, f"{PREFIX}/director-group": made.service.director_group_ref.name}
                spec = made.service if self.keeps is None else self.keeps(made.service)
                self.put(VirtualService(meta=replace(meta, labels=there), spec=spec))
        for key, status in decision.load_balancers.items():
            self.raw_services[key] = {**self.raw_services[key], "status": dict(status.raw)}
        for key in decision.owned.delete_services:
            self.delete_service(key, collect=False)
        for key in decision.owned.delete_pools:
            del self.pools[key]
        self._read_services()
        return decision

    def _made_meta(self, key: ObjectKey, owner_uid: str) -> ObjectMeta:
        owner = OwnerReference(api_version="v1", kind="Service", name=key.name, uid=owner_uid, controller=True)
        labels = {"app.kubernetes.io/managed-by": "lvs-operator"}
        return replace(self.meta(key.name, key.namespace), owner_references=(owner,), labels=labels)

    def _read_services(self) -> None:
        self.core_services = [core_service_from_raw(raw) for raw in self.raw_services.values()]


READY = {"Accepted": "True Accepted", "Ready": "True Ready"}


def serving(cluster: BalancedCluster, annotations: dict[str, str] | None = None, **spec: Any) -> str:
    """A Service is said and served; gives the address that it tells."""
    cluster.say(balanced(annotations, **spec))
    cluster.settle()
    assert cluster.says() == READY
    (told,) = cluster.ingress()
    address, mode = told.split()
    assert mode == "Proxy"
    return address


def made(cluster: BalancedCluster) -> VirtualService:
    return cluster.services[WEB]
