"""The controller's part of the chart: off by default; hardened, with no right that it does not need, when on."""

import pytest
import yaml

from config.cli import resolve
from controller.config import RECIPES, ControllerConfig
from controller.crd import crd
from controller.render import PROGRESS_PORT
from tests.helm.chart import Object, of_kind, one_of, pod_specs, refusal, render
from tests.helm.pod_security import violations

pytestmark = pytest.mark.helm

ON = "controller: {enabled: true}"
CLUSTER = "controller: {enabled: true, watch: cluster}\njobs: {namespace: pipelines}"


def container(values: str) -> Object:
    (one,) = one_of(render(values), "Deployment", "-controller")["spec"]["template"]["spec"]["containers"]
    return one


def test_it_is_off_until_asked_for() -> None:
    objects = render("")
    assert of_kind(objects, "CustomResourceDefinition") == []
    assert not [one for one in objects if one["metadata"]["name"].endswith("-controller")]


@pytest.mark.parametrize("values", [ON, CLUSTER])
def test_its_pods_pass_restricted_and_more(values: str) -> None:
    (spec,) = [spec for name, _, spec in pod_specs(render(values)) if name.endswith("-controller")]
    assert violations(spec) == []
    (one,) = spec["containers"]
    assert one["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["enableServiceLinks"] is False
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)
    assert one["resources"]["limits"].keys() >= {"cpu", "memory"}


def rules(values: str) -> list[Object]:
    """All that its service account may do."""
    return [
        rule
        for one in render(values)
        if one["kind"] in ("Role", "ClusterRole") and "-controller" in one["metadata"]["name"]
        for rule in one["rules"]
    ]


@pytest.mark.parametrize("values", [ON, CLUSTER])
def test_it_may_do_what_it_needs_and_nothing_more(values: str) -> None:
    allowed = {
        (group, resource): set(rule["verbs"])
        for rule in rules(values)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if "resourceNames" not in rule
    }
    assert allowed == {
        ("reverie.dev", "reveries"): {"get", "list", "watch", "patch", "delete"},
        ("reverie.dev", "reveries/status"): {"patch"},
        ("reverie.dev", "reveries/finalizers"): {"update"},
        ("batch.volcano.sh", "jobs"): {"get", "list", "watch", "create", "patch", "delete"},
        ("bus.volcano.sh", "commands"): {"create"},
        ("", "pods"): {"list", "watch"},
        ("events.k8s.io", "events"): {"create"},
        ("coordination.k8s.io", "leases"): {"create"},
    }
    (lease,) = [rule for rule in rules(values) if "resourceNames" in rule]
    assert (lease["resourceNames"], lease["verbs"]) == (["reverie-controller"], ["get", "update"])


def test_it_serves_the_jobs_namespace_or_all() -> None:
    for values, kind, namespace in ((ON, "Role", "reverie"), (CLUSTER, "ClusterRole", "")):
        objects = render(values)
        assert [
            one["metadata"]["name"] for one in of_kind(objects, kind) if "lease" not in one["metadata"]["name"]
        ] == ["reverie-controller"]
        assert f"--namespace={namespace}" in container(values)["args"]


@pytest.mark.parametrize("values", [ON, CLUSTER])
def test_its_command_line_is_one_that_it_takes(values: str) -> None:
    config = resolve(ControllerConfig, RECIPES, container(values)["args"])
    assert (config.lease_namespace, config.lease_name, config.port) == ("reverie", "reverie-controller", 8080)


def test_the_resource_type_is_the_generated_one_and_outlives_the_release() -> None:
    (made,) = of_kind(render(ON), "CustomResourceDefinition")
    assert made["spec"] == yaml.safe_load(yaml.safe_dump(crd()["spec"]))
    assert made["metadata"]["name"] == crd()["metadata"]["name"]
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert of_kind(render("controller: {enabled: true, crd: false}"), "CustomResourceDefinition") == []


def test_it_reaches_the_api_server_and_only_prometheus_reaches_it() -> None:
    policy = one_of(render(ON), "NetworkPolicy", "-controller")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": 8080}]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 6443, PROGRESS_PORT}


def test_of_job_pods_it_reaches_the_port_of_their_progress_and_no_other() -> None:
    for values, namespace in ((ON, "reverie"), (CLUSTER, "pipelines")):
        policy = one_of(render(values), "NetworkPolicy", "-jobs-progress")
        assert policy["metadata"]["namespace"] == namespace
        (ingress,) = policy["spec"]["ingress"]
        assert ingress["ports"] == [{"protocol": "TCP", "port": PROGRESS_PORT}]
        (peer,) = ingress["from"]
        assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "controller"


def test_one_replica_always_stays_and_one_alone_needs_no_budget() -> None:
    assert one_of(render(ON), "PodDisruptionBudget", "-controller")["spec"]["minAvailable"] == 1
    single = render("controller: {enabled: true, replicas: 1}")
    assert not [
        one for one in of_kind(single, "PodDisruptionBudget") if one["metadata"]["name"].endswith("-controller")
    ]


def test_submitters_may_use_the_resource_when_there_is_a_controller() -> None:
    people = "submitters: [{kind: Group, name: research}]"
    groups = [rule["apiGroups"] for rule in one_of(render(f"{ON}\n{people}"), "Role", "-submitter")["rules"]]
    assert ["reverie.dev"] in groups
    assert ["reverie.dev"] not in [rule["apiGroups"] for rule in one_of(render(people), "Role", "-submitter")["rules"]]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("controller: {enabled: true, image: {tag: latest}}", "controller.image.tag: latest is another image tomorrow"),
        ("controller: {watch: everything}", "'namespace', 'cluster'"),
        ("controller: {replica: 2}", "additional properties 'replica' not allowed"),
        (f"policy: {{requireDigest: true}}\nmlflow: {{enabled: false}}\n{ON}", "controller.image.digest"),
    ],
)
def test_what_does_not_fit_is_refused(values: str, told: str) -> None:
    assert told in refusal(values)


def test_without_volcano_the_reason_is_given() -> None:
    assert "controller.enabled: the cluster has no Volcano" in refusal(f"{ON}\nvolcano: {{enabled: false}}", has=())
