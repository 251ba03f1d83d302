"""The chart as a release of a real cluster."""

from dataclasses import dataclass
from typing import Final

from tests.cluster.api import Api, ApiError
from tests.cluster.cluster import Cluster
from tests.cluster.waiting import eventually
from tests.helm.chart import CHART, helm, scenario_file

CONTROLLED: Final = ("--set", "controller.enabled=true", "--wait", "--timeout", "5m")
TESTS: Final = "reverie.dev/tests"
"""Label of the namespaces that tests make."""
# What a cluster keeps of things that are gone, or changes by itself.
_PASSING = frozenset({"Event", "Lease", "Pod", "EndpointSlice", "Endpoints", "Node", "PersistentVolume"})


@dataclass(frozen=True)
class Release:
    """A name in a namespace, installed or not."""

    cluster: Cluster
    name: str
    namespace: str

    def chart(self, scenario: str) -> tuple[str, ...]:
        """The arguments that name the chart with a scenario's values."""
        return (str(CHART), "--values", str(scenario_file(scenario)))

    def do(self, verb: str, *arguments: str) -> str:
        """`helm VERB NAME ...`; what it said."""
        where = ("--namespace", self.namespace, "--kubeconfig", str(self.cluster.kubeconfig))
        done = helm(verb, self.name, *arguments, *where, timeout=600)
        assert done.returncode == 0, f"helm {verb}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr  # a hook's log goes to the second


def install(cluster: Cluster, *more: str) -> Release:
    """The chart with the laptop's values, in the namespace `ml`, which enforces `restricted`."""
    namespace(cluster.api, "ml")
    release = Release(cluster, "reverie", "ml")
    release.do("install", *release.chart("laptop"), *more, "--wait", "--timeout", "5m")
    return release


def namespace(api: Api, name: str) -> None:
    """One that enforces Pod Security `restricted`, as docs/helm.md makes it."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", TESTS: ""}
    api.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
    eventually("the namespace's service account", lambda: api.get(accounts)["items"])
    eventually("the authority's certificate", lambda: api.get(f"/api/v1/namespaces/{name}/configmaps")["items"])


def everything(api: Api) -> set[tuple[str, str, str]]:
    """Kind, namespace and name of all that the cluster holds."""
    groups = [f"/apis/{one['preferredVersion']['groupVersion']}" for one in api.get("/apis")["groups"]]
    found = set()
    for group in ["/api/v1", *groups]:
        for kind in api.get(group)["resources"]:
            if "list" not in kind["verbs"] or kind["kind"] in _PASSING:
                continue
            try:
                items = api.get(f"{group}/{kind['name']}")["items"]
            except ApiError as error:
                if error.code not in (404, 405):
                    raise
                continue
            names = [one["metadata"] for one in items]
            found |= {(kind["kind"], meta.get("namespace", ""), meta["name"]) for meta in names}
    return found
