"""Who may talk to whom: the policies' own logic, worked out as a cluster's network plugin would."""

from typing import Any, Final

import pytest

from tests.helm.chart import SCENARIOS, Object, of_kind, pod_specs, render

pytestmark = pytest.mark.helm

JOB: Final = {"volcano.sh/job-name": "nano"}  # what Volcano puts on the pods of a job
KNOWN: Final = (  # pods that others run, and their namespaces
    ("kube-system", {"k8s-app": "kube-dns"}),
    ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
)


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector selects such labels."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "Exists"
        exact = exact and rule["key"] in labels
    return exact


def admits(policy: Object, peer: Object, namespace: str, labels: dict[str, str]) -> bool:
    """Whether a peer of a rule is the pod with such labels in `namespace`."""
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        here = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        here = policy["metadata"]["namespace"] == namespace
    return here and matches(peer.get("podSelector", {}), labels)


Pod = tuple[str, dict[str, str]]  # namespace, labels


def allowed(objects: tuple[Object, ...], side: str, pod: Pod, other: Pod, port: int) -> bool:
    """Whether the policies let `pod` send to (side egress) or hear from (ingress) the other, on a TCP port."""
    kind = side.capitalize()
    policies = [
        one
        for one in of_kind(objects, "NetworkPolicy")
        if one["metadata"]["namespace"] == pod[0]
        and kind in one["spec"]["policyTypes"]
        and matches(one["spec"]["podSelector"], pod[1])
    ]
    if not policies:
        return True  # nothing selects it, so nothing isolates it
    for policy in policies:
        for rule in policy["spec"].get(side, ()):
            peers = rule["to" if side == "egress" else "from"]
            ports = [one["port"] for one in rule.get("ports", ()) if one["protocol"] == "TCP"]
            open_port = "ports" not in rule or port in ports
            if open_port and any(admits(policy, peer, *other) for peer in peers):
                return True
    return False


def connects(objects: tuple[Object, ...], source: Pod, target: Pod, port: int) -> bool:
    """Whether a connection passes both ends."""
    return allowed(objects, "egress", source, target, port) and allowed(objects, "ingress", target, source, port)


def labels_of(objects: tuple[Object, ...], component: str) -> dict[str, str]:
    """Labels of the release's own pod."""
    key = "app.kubernetes.io/component"
    (labels,) = [m["labels"] for _, m, _ in pod_specs(objects) if m["labels"][key] == component]
    return labels


def jobs_namespace(scenario: str) -> str:
    return "reverie-jobs" if scenario == "gpu-cluster" else "reverie"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_label_that_a_policy_names_is_on_some_pod(scenario: str) -> None:
    objects = render(scenario)
    there: list[Pod] = [(m["namespace"], m["labels"]) for _, m, _ in pod_specs(objects)]
    there += [(jobs_namespace(scenario), JOB), *KNOWN]
    for policy in of_kind(objects, "NetworkPolicy"):
        where, selector = policy["metadata"]["namespace"], policy["spec"]["podSelector"]
        assert any(where == namespace and matches(selector, labels) for namespace, labels in there)
        for rule in (*policy["spec"].get("egress", ()), *policy["spec"].get("ingress", ())):
            peers = rule.get("to") or rule.get("from")
            assert peers, "a rule without peers would mean everybody"
            for peer in peers:
                assert "ipBlock" in peer or any(admits(policy, peer, *pod) for pod in there), peer


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_jobs_reach_dns_and_each_other_on_all_ports(scenario: str) -> None:
    objects = render(scenario)
    job = (jobs_namespace(scenario), JOB)
    assert allowed(objects, "egress", job, KNOWN[0], 53)
    assert not allowed(objects, "egress", job, KNOWN[0], 80)
    assert allowed(objects, "egress", job, job, 29500)
    assert allowed(objects, "egress", job, job, 47123)
    assert not allowed(objects, "egress", job, ("other", JOB), 29500)


def test_a_job_hears_its_own_pods_by_volcanos_policy_or_all_jobs_by_ours() -> None:
    job = ("reverie", JOB)
    assert not allowed(render(""), "ingress", job, job, 29500)  # Volcano's policy for the job allows it
    wide = render("networkPolicy: {jobIngress: namespace}")
    assert allowed(wide, "ingress", job, job, 29500)
    assert not allowed(wide, "ingress", job, ("reverie", {}), 29500)


@pytest.mark.parametrize("scenario", ["laptop", "gpu-cluster", "restricted-namespace"])
def test_mlflow_hears_jobs_and_the_test_and_nobody_else(scenario: str) -> None:
    objects = render(scenario)
    mlflow, test = ("reverie", labels_of(objects, "mlflow")), ("reverie", labels_of(objects, "test"))
    assert connects(objects, (jobs_namespace(scenario), JOB), mlflow, 5000)
    assert connects(objects, test, mlflow, 5000)
    assert not connects(objects, (jobs_namespace(scenario), JOB), mlflow, 22)
    assert not connects(objects, ("other", JOB), mlflow, 5000)
    assert not connects(objects, ("reverie", {"app": "stranger"}), mlflow, 5000)
    assert not connects(objects, mlflow, (jobs_namespace(scenario), JOB), 29500)
    assert connects(objects, KNOWN[1], mlflow, 5000) == (scenario == "gpu-cluster")


def test_the_default_is_to_deny_unless_others_live_there() -> None:
    stranger = ("reverie", {"app": "stranger"})
    assert not connects(render(""), stranger, ("reverie", {"app": "another"}), 80)
    assert connects(render("restricted-namespace"), stranger, ("reverie", {"app": "another"}), 80)


def blocks(objects: tuple[Object, ...], ending: str) -> list[Any]:
    """Address ranges that a policy opens, with their ports."""
    return [
        (peer["ipBlock"]["cidr"], sorted(port["port"] for port in rule["ports"]))
        for policy in of_kind(objects, "NetworkPolicy")
        if policy["metadata"]["name"].endswith(ending)
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]


def test_storage_is_the_internet_without_neighbours_and_metadata() -> None:
    (policy,) = [
        one for one in of_kind(render(""), "NetworkPolicy") if one["metadata"]["name"].endswith("jobs-storage")
    ]
    (rule,) = policy["spec"]["egress"]
    block = rule["to"][0]["ipBlock"]
    assert block["cidr"] == "0.0.0.0/0"
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(block["except"])
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]


def test_storage_in_the_cluster_is_named_by_labels() -> None:
    values = """
networkPolicy:
  objectStorage:
    ports: [9000]
    ipBlocks: []
    pods: [{namespaceLabels: {kubernetes.io/metadata.name: storage}, podLabels: {app: minio}}]
"""
    objects = render(values)
    assert allowed(objects, "egress", ("reverie", JOB), ("storage", {"app": "minio"}), 9000)
    assert not allowed(objects, "egress", ("reverie", JOB), ("storage", {"app": "other"}), 9000)
    assert blocks(objects, "jobs-storage") == []


def test_no_storage_means_no_rule_rather_than_a_rule_for_everybody() -> None:
    objects = render("networkPolicy: {objectStorage: {ipBlocks: []}}")
    assert not [one for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"].endswith("jobs-storage")]


@pytest.mark.parametrize(
    ("provider", "opened"),
    [
        ("none", []),
        ("eks-irsa", []),
        ("aks", []),
        ("gke", [("169.254.169.254/32", [80, 988]), ("169.254.169.252/32", [80, 988])]),
        ("eks-pod-identity", [("169.254.170.23/32", [80]), ("fd00:ec2::23/128", [80])]),
    ],
)
def test_metadata_is_opened_where_identities_come_from_it(provider: str, opened: list[Any]) -> None:
    assert blocks(render(f"workloadIdentity: {{provider: {provider}}}"), "jobs-identity") == opened


@pytest.mark.parametrize(
    ("uri", "port"),
    [
        ("https://mlflow.example.com", 443),
        ("http://mlflow.example.com/team", 80),
        ("https://mlflow.example.com:8443", 8443),
        ("http://10.1.2.3:5000", 5000),
    ],
)
def test_an_mlflow_elsewhere_is_reached_at_its_port(uri: str, port: int) -> None:
    values = f"mlflow: {{enabled: false, external: {{uri: '{uri}', ipBlocks: [{{cidr: 10.0.0.0/8}}]}}}}"
    assert blocks(render(values), "jobs-mlflow") == [("10.0.0.0/8", [port])]


def test_exporters_in_jobs_are_open_to_prometheus_alone() -> None:
    objects = render("networkPolicy: {prometheus: {jobPorts: [9400]}}")
    assert allowed(objects, "ingress", ("reverie", JOB), KNOWN[1], 9400)
    assert not allowed(objects, "ingress", ("reverie", JOB), KNOWN[1], 29500)
    assert not allowed(objects, "ingress", ("reverie", JOB), ("reverie", {}), 9400)


def test_policies_can_be_switched_off() -> None:
    assert of_kind(render("networkPolicy: {enabled: false}"), "NetworkPolicy") == []
