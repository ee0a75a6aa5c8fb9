"""What users, programs and other hands have said and done so far, as far as later deeds are judged by it."""

from simulation.model_api import USERS, Key, ModelApi, Raw
from simulation.users import DIRECTOR_LABEL, MEMBERS, staying


class History:
    """Hears every write to the API."""

    def __init__(self, api: ModelApi) -> None:
        self._api = api
        self.specs: dict[tuple[str, Key, int], Raw] = {}
        """Every spec that there was, by kind, name and generation."""
        self.deleted: set[str] = set()
        """Services that users deleted, by uid."""
        self.went: set[str] = set()
        """Services of which slices went by other hands: only who remembers them can hold them."""
        self.unwanted: set[tuple[str, str]] = set()
        """Services by uid with addresses that at some time were none of their real servers', by users' word."""
        self.bound_reports: set[tuple[str, str, str, str]] = set()
        """Node, boot, address and device that were reported as bound."""
        self.disabled: set[str] = set()
        """Addresses of real servers that were Disabled at some time: they leave without a drain."""
        self.nodes_went: set[str] = set()
        """Nodes whose LvsNode went by other hands."""
        self.unselected: set[str] = set()
        """Nodes that at some time were no directors."""
        api.witnesses.append(self._witness)

    def _witness(self, author: str, plural: str, old: Raw | None, new: Raw | None) -> None:
        if new is not None and "spec" in new and plural != "nodes":
            metadata = new["metadata"]
            key = (metadata.get("namespace") or "", metadata["name"])
            self.specs[plural, key, metadata["generation"]] = new["spec"]
        if author == "user" and plural in USERS:
            self._note_intent(plural, old, new)
        if plural == "nodes":
            self._note_selection(old, new)
        if author == "agent" and plural == "lvsnodes" and new is not None:
            self._note_report(new)
        if new is None and old is not None:
            self._note_gone(author, plural, old)

    def _note_gone(self, author: str, plural: str, old: Raw) -> None:
        if plural == "lvsserviceslices":
            self.went.add(old["spec"]["serviceRef"]["uid"])
        if plural == "lvsnodes" and author in {"crd", "somebody"}:
            self.nodes_went.add(old["metadata"]["name"])

    def _note_intent(self, plural: str, old: Raw | None, new: Raw | None) -> None:
        if plural == "lvsvirtualservices" and new is None and old is not None:
            self.deleted.add(old["metadata"]["uid"])
        pools = self._api.objects("lvsrealserverpools")
        for key, raw in self._api.objects("lvsvirtualservices").items():
            pool = pools.get((key[0], raw["spec"]["realServerPoolRef"]["name"]))
            if pool is not None:
                wanted = {server["address"] for server in staying(pool["spec"])}
                self.unwanted |= {(raw["metadata"]["uid"], address) for address in MEMBERS if address not in wanted}
        if plural == "lvsrealserverpools" and new is not None:
            servers = new["spec"].get("realServers") or ()
            self.disabled |= {one["address"] for one in servers if one.get("state") == "Disabled"}

    def _note_selection(self, old: Raw | None, new: Raw | None) -> None:
        labels = (new or {}).get("metadata", {}).get("labels", {})
        if not DIRECTOR_LABEL.items() <= labels.items():
            self.unselected.add((new or old or {})["metadata"]["name"])

    def _note_report(self, new: Raw) -> None:
        name, status = new["metadata"]["name"], new["status"]
        for one in status.get("addresses") or ():
            if one["state"] == "Bound" or one.get("closedPorts"):
                self.bound_reports.add((name, status["bootId"], one["address"], one["device"]))
