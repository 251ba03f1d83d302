"""What the chart makes of its values: hardened pods, consistent names, no secrets, links that lead somewhere."""

import re
from typing import Any, Final

import pytest
import yaml

from tests.helm.chart import (
    CHART,
    CLUSTER_WIDE,
    SCENARIOS,
    VOLCANO,
    Object,
    helm,
    identity,
    of_kind,
    one_of,
    pod_specs,
    refusal,
    render,
    scenario_file,
    template,
    walk,
)
from tests.helm.pod_security import containers, violations

pytestmark = pytest.mark.helm

# Kinds and the versions in which Kubernetes 1.35, Volcano 1.15 and the Prometheus operator serve them.
SERVED: Final = {
    "v1": {"ConfigMap", "LimitRange", "Namespace", "PersistentVolumeClaim", "Pod", "ResourceQuota", "Service"}
    | {"ServiceAccount"},
    "apps/v1": {"Deployment"},
    "networking.k8s.io/v1": {"NetworkPolicy"},
    "policy/v1": {"PodDisruptionBudget"},
    "rbac.authorization.k8s.io/v1": {"Role", "RoleBinding"},
    "scheduling.k8s.io/v1": {"PriorityClass"},
    "admissionregistration.k8s.io/v1": {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
    "scheduling.volcano.sh/v1beta1": {"Queue"},
    "monitoring.coreos.com/v1": {"ServiceMonitor"},
}
EVERYTHING: Final = """
submitters: [{kind: User, name: ada}, {kind: ServiceAccount, name: ci}]
imagePullSecrets: [registry]
quota: {enabled: true, hard: {pods: 10}}
metrics: {enabled: true, serviceMonitor: {enabled: true}}
mlflow: {podLabels: {team: vision}, podAnnotations: {note: x}, nodeSelector: {kubernetes.io/os: linux},
  tolerations: [{key: spot, operator: Exists, effect: NoSchedule}]}
"""
ALL: Final = (*SCENARIOS, "", EVERYTHING)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_helm_lint_has_nothing_to_say(scenario: str) -> None:
    done = helm("lint", "--strict", str(CHART), "-f", str(scenario_file(scenario)))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("values", ALL)
def test_only_kinds_are_used_that_the_cluster_serves(values: str) -> None:
    assert [identity(one) for one in render(values) if one["kind"] not in SERVED.get(one["apiVersion"], ())] == []


@pytest.mark.parametrize("values", ALL)
def test_every_pod_passes_pod_security_restricted(values: str) -> None:
    pods = list(pod_specs(render(values)))
    assert pods
    assert {name: broken for name, _, spec in pods if (broken := violations(spec))} == {}


@pytest.mark.parametrize("values", ALL)
def test_pods_are_hardened_beyond_that(values: str) -> None:
    for name, _, spec in pod_specs(render(values)):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsUser"] >= 10000, name
        for container in containers(spec):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
            assert re.search(r":[^:/]+$|@sha256:", container["image"]), container["image"]
        for volume in spec.get("volumes", ()):
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]


@pytest.mark.parametrize("values", ALL)
def test_no_secret_is_written_anywhere(values: str) -> None:
    objects = render(values)
    assert of_kind(objects, "Secret") == []
    for path, value in walk(objects):
        assert not re.search(r"://[^/\s@]+:[^/\s@]+@", str(value)), path
    for _, _, spec in pod_specs(objects):
        for variable in (env for container in containers(spec) for env in container.get("env", ())):
            secret = re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", variable["name"])
            assert not (secret and "value" in variable), variable["name"]


def test_a_password_has_no_place_in_values() -> None:
    for values in (
        "mlflow: {backend: {uri: postgresql://me:word@db/mlflow}}",
        "mlflow: {enabled: false, external: {uri: https://me:word@mlflow.example.com}}",
        "mlflow: {artifacts: {destination: s3://bucket, s3Endpoint: https://key:word@store}}",
    ):
        assert "/mlflow" in refusal(values)


def test_credentials_are_taken_by_reference() -> None:
    objects = render("""
mlflow:
  backend: {type: postgresql, secret: {name: database, key: address}}
  artifacts: {destination: s3://bucket/mlflow, s3Endpoint: "https://store:9000", secretName: keys}
""")
    (container,) = one_of(objects, "Deployment", "-mlflow")["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one for one in container["env"]}
    assert env["MLFLOW_BACKEND_STORE_URI"]["valueFrom"] == {"secretKeyRef": {"name": "database", "key": "address"}}
    assert env["MLFLOW_S3_ENDPOINT_URL"]["value"] == "https://store:9000"
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "--artifacts-destination=s3://bucket/mlflow" in container["args"]
    assert of_kind(objects, "PersistentVolumeClaim") == []


def selected(selector: Object, labels: dict[str, str]) -> bool:
    """Whether matchLabels select such labels."""
    return selector.items() <= labels.items()


@pytest.mark.parametrize("values", ALL)
def test_every_selector_finds_a_pod(values: str) -> None:
    objects = render(values)
    pods = [metadata["labels"] for _, metadata, _ in pod_specs(objects)]
    for kind, path in (("Deployment", "matchLabels"), ("PodDisruptionBudget", "matchLabels"), ("Service", "")):
        for one in of_kind(objects, kind):
            selector = one["spec"]["selector"]
            assert sum(selected(selector[path] if path else selector, labels) for labels in pods) == 1, identity(one)
    services = [one["metadata"]["labels"] for one in of_kind(objects, "Service")]
    for monitor in of_kind(objects, "ServiceMonitor"):
        assert any(selected(monitor["spec"]["selector"]["matchLabels"], labels) for labels in services)


@pytest.mark.parametrize("values", ALL)
def test_every_reference_to_an_object_of_the_release_leads_to_it(values: str) -> None:
    objects = render(values)
    there = {identity(one) for one in objects}
    for _, metadata, spec in pod_specs(objects):
        where = metadata["namespace"]
        if account := spec.get("serviceAccountName"):
            assert ("ServiceAccount", where, account) in there
        for volume in spec.get("volumes", ()):
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", where, claim["claimName"]) in there
        mounted = {mount["name"] for container in containers(spec) for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in spec.get("volumes", ())}
    for binding in of_kind(objects, "RoleBinding"):
        assert ("Role", binding["metadata"]["namespace"], binding["roleRef"]["name"]) in there
    for service in of_kind(objects, "Service"):
        names = {
            port["name"] for _, _, spec in pod_specs(objects) for c in containers(spec) for port in c.get("ports", ())
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


@pytest.mark.parametrize("values", ALL)
def test_every_object_carries_the_labels_and_a_name_that_fits(values: str) -> None:
    for one in render(values, "a-release-with-a-name-as-long-as-helm-lets-it-be-xyz"):
        metadata = one["metadata"]
        labels = metadata["labels"]
        assert labels["app.kubernetes.io/instance"] == "a-release-with-a-name-as-long-as-helm-lets-it-be-xyz"
        assert labels["app.kubernetes.io/name"] == "reverie"
        assert labels["app.kubernetes.io/part-of"] == "reverie"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"].startswith("reverie-")
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", metadata["name"])
        assert ("namespace" in metadata) == (one["kind"] not in CLUSTER_WIDE)


@pytest.mark.parametrize("values", ALL)
def test_two_releases_share_a_namespace(values: str) -> None:
    flags = ("--set", "jobs.createNamespace=false")  # one of them makes the namespace
    first, second = (render(values, release=name, flags=flags) for name in ("a", "b"))
    assert {identity(one) for one in first}.isdisjoint(identity(one) for one in second)
    theirs = [metadata["labels"] for _, metadata, _ in pod_specs(second)]
    for one in (*of_kind(first, "Deployment"), *of_kind(first, "PodDisruptionBudget")):
        assert not any(selected(one["spec"]["selector"]["matchLabels"], labels) for labels in theirs)
    for service in of_kind(first, "Service"):
        assert not any(selected(service["spec"]["selector"], labels) for labels in theirs)


def test_one_release_name_in_two_namespaces_is_told_apart_by_a_prefix() -> None:
    first = render("")
    second = render("fullnameOverride: vision", namespace="other")
    assert {identity(one) for one in first}.isdisjoint(identity(one) for one in second)


def test_a_namespace_that_the_chart_makes_enforces_restricted() -> None:
    (made,) = of_kind(render("jobs: {namespace: pipelines, createNamespace: true}"), "Namespace")
    labels = made["metadata"]["labels"]
    assert made["metadata"]["name"] == "pipelines"
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_a_tenant_needs_no_rights_outside_the_namespace() -> None:
    objects = render("restricted-namespace")
    assert [identity(one) for one in objects if one["kind"] in CLUSTER_WIDE] == []
    assert {one["metadata"]["namespace"] for one in objects} == {"reverie"}
    assert template("restricted-namespace", has=()).returncode == 0  # nor Volcano's types, nor Prometheus'


@pytest.mark.parametrize(
    ("provider", "annotation", "value"),
    [
        ("gke", "iam.gke.io/gcp-service-account", "jobs@vision.iam.gserviceaccount.com"),
        ("eks-irsa", "eks.amazonaws.com/role-arn", "arn:aws:iam::123456789012:role/jobs"),
        ("aks", "azure.workload.identity/client-id", "01234567-89ab-cdef-0123-456789abcdef"),
    ],
)
def test_identities_stand_where_the_cloud_looks_for_them(provider: str, annotation: str, value: str) -> None:
    objects = render(f"""
workloadIdentity: {{provider: {provider}}}
serviceAccounts: {{jobs: {{identity: "{value}"}}}}
mlflow: {{identity: "{value}"}}
""")
    for ending in ("-jobs", "-mlflow"):
        account = one_of(objects, "ServiceAccount", ending)
        assert account["metadata"]["annotations"] == {annotation: value}
        assert account["automountServiceAccountToken"] is False
    labels = one_of(objects, "Deployment", "-mlflow")["spec"]["template"]["metadata"]["labels"]
    assert (labels.get("azure.workload.identity/use") == "true") == (provider == "aks")


def test_a_queue_or_class_is_removed_by_null_and_added_by_name() -> None:
    objects = render("""
queues: {generation: null, research: {weight: 3, capability: {nvidia.com/gpu: 16}, parent: root}}
priorityClasses: {training: null, urgent: {value: 50000}}
""")
    queues = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "Queue")}
    assert queues.keys() == {"reverie-training", "reverie-research"}
    assert queues["reverie-research"] == {
        "weight": 3,
        "reclaimable": True,
        "parent": "root",
        "capability": {"nvidia.com/gpu": 16},
    }
    classes = {one["metadata"]["name"]: one for one in of_kind(objects, "PriorityClass")}
    assert classes.keys() == {"reverie-generation", "reverie-urgent"}
    assert classes["reverie-urgent"]["value"] == 50000
    assert not any(one["globalDefault"] for one in classes.values())


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "5" * 64
    objects = render(f"mlflow: {{image: {{digest: '{digest}'}}}}")
    images = {container["image"] for _, _, spec in pod_specs(objects) for container in containers(spec)}
    assert images == {f"ghcr.io/mlflow/mlflow@{digest}"}


def test_without_volcano_the_reason_is_given() -> None:
    assert "volcano.enabled: the cluster has no Volcano" in refusal("", has=())
    monitor = "metrics: {enabled: true, serviceMonitor: {enabled: true}}"
    assert "metrics.serviceMonitor.enabled: the cluster has no ServiceMonitor" in refusal(monitor, has=VOLCANO)


def notes(values: str, *flags: str) -> str:
    """What `helm install` says at its end."""
    done = helm("install", "reverie", str(CHART), "-n", "reverie", "--dry-run=client", *flags, "-f", "-", text=values)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("NOTES:")[1]


def test_the_notes_give_the_next_command() -> None:
    text = notes("volcano: {enabled: false}")
    assert "helm test reverie -n reverie" in text
    assert "torchx run -s kubernetes" in text
    assert "namespace=reverie,queue=default,service_account=reverie-jobs,priority_class=reverie-training" in text
    assert "--mlflow http://reverie-mlflow.reverie.svc:5000" in text
    assert "port-forward service/reverie-mlflow 5000:5000" in text
    assert "`helm uninstall` deletes all recorded runs" in text


def test_the_test_pod_checks_what_was_installed() -> None:
    def arguments(values: str) -> list[Any]:
        (pod,) = of_kind(render(values), "Pod")
        (container,) = pod["spec"]["containers"]
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        return [*container["args"][1:], container["env"][0]["value"]]

    assert arguments("") == ["healthy", "searchable", "http://reverie-mlflow.reverie.svc:5000"]
    assert arguments("gpu-cluster") == ["healthy", "searchable", "measured", "http://reverie-mlflow.reverie.svc:5000"]
    assert arguments("external-mlflow") == ["reachable", "https://mlflow.example.com"]
    assert of_kind(render("mlflow: {enabled: false}"), "Pod") == []


def test_the_pools_file_reaches_the_cluster_as_it_is() -> None:
    file = CHART / "files" / "pools.yaml"
    maps = of_kind(render(""), "ConfigMap")
    if not file.exists():
        assert maps == []
        return
    (pools,) = maps
    assert yaml.safe_load(pools["data"]["pools.yaml"]) == yaml.safe_load(file.read_text())
