"""Other people's checkers find nothing in what the chart and the components render; each exception has its reason."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster import programs
from tests.cluster.cluster import ROOT, Cluster
from tests.helm.chart import SCENARIOS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

RENDERED: Final = [ROOT / "manifests" / "chart" / f"{scenario}.yaml" for scenario in SCENARIOS]
COMPONENTS: Final = sorted((ROOT / "tests" / "torchx_plugins" / "volcano" / "golden").glob("*.yaml"))
# Tests of checkov that do not fit, with the reason: in what the chart makes, and more in pods of jobs.
UNFIT: Final = {
    "CKV_K8S_15": "images are pinned by tag or digest; Always would ask the registry at each restart",
    "CKV_K8S_35": "S3 clients and MLflow read their keys from the environment; the pod names the secret, not its value",
    "CKV_K8S_43": "a release names tags; whoever wants digests sets policy.requireDigest, and gets them checked",
}
UNFIT_IN_JOBS: Final = {
    "CKV_K8S_8": "a job answers nobody: its exit code says how it ended, its gang's watchdog that it hangs",
    "CKV_K8S_9": "the same",
    "CKV2_K8S_6": "the policies are the chart's and Volcano's, in no file beside the pods",
}
# Tests of kube-score that do not fit, with the reason.
EXCUSED: Final = {
    "container-image-pull-policy": "images are pinned by tag or digest; Always would ask the registry at each restart",
    "container-ephemeral-storage-request-and-limit": "what is written goes to an emptyDir with a size limit",
    "deployment-replicas": "sqlite on a volume allows one server; more need PostgreSQL, as the values say",
    "pod-probes-identical": "ready and alive are one question for MLflow: does /health answer",
    "networkpolicy-targets-pod": "the pods of jobs come later, from torchx",
}


@pytest.fixture(scope="module")
def schemas(made: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSON schema per kind, from the API server itself, Volcano's kinds included; unknown keys are refused."""
    folder = tmp_path_factory.mktemp("schemas")
    definitions: dict[str, Any] = made.api.get("/openapi/v2")["definitions"]
    kinds = [
        (one, name) for name, body in definitions.items() for one in body.get("x-kubernetes-group-version-kind", [])
    ]
    for body in definitions.values():
        _close(body)
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {"type": ["string", "integer"]}
    (folder / "all.json").write_text(
        json.dumps({"definitions": definitions}).replace("#/definitions/", "all.json#/definitions/")
    )
    for kind, name in kinds:
        file = f"{kind['kind']}-{kind['group'].partition('.')[0]}-{kind['version']}".replace("--", "-").lower()
        (folder / f"{file}.json").write_text(json.dumps({"$ref": f"all.json#/definitions/{name}"}))
    return folder


def _close(schema: dict[str, Any]) -> None:
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
        for inner in schema["properties"].values():
            _close(inner)
    if isinstance(schema.get("items"), dict):
        _close(schema["items"])


@pytest.mark.parametrize("file", [*RENDERED, *COMPONENTS], ids=lambda file: file.stem)
def test_kubeconform_finds_nothing(schemas: Path, file: Path) -> None:
    where = f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    skipped = ["-skip", "ServiceMonitor"]  # of the Prometheus operator, which the cluster does not have
    command = [str(programs.kubeconform()), "-strict", "-summary", "-schema-location", where, *skipped, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid: 0," not in done.stdout, "something was looked at"


@pytest.mark.parametrize("file", RENDERED, ids=lambda file: file.stem)
def test_kube_score_finds_nothing(file: Path) -> None:
    excused = [word for test in EXCUSED for word in ("--ignore-test", test)]
    done = subprocess.run([str(programs.kube_score()), "score", *excused, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pods of all components' jobs, as files of their own: checkov does not know Volcano's jobs."""
    folder = tmp_path_factory.mktemp("pods")
    for file in COMPONENTS:
        for task in yaml.safe_load(file.read_text())["spec"]["tasks"]:
            name = f"{file.stem}-{task['name']}"
            metadata = task["template"]["metadata"] | {"name": name, "namespace": "ml"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": task["template"]["spec"]}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(pod))
    return folder


def checkov(folder: Path, excused: Iterable[str]) -> list[str]:
    """What checkov finds in the YAML files of a folder, the excused tests left out, as `test: file: object`."""
    program = ROOT / os.environ.get("CHECKOV", ".tools/checkov")
    command = [str(program), "--framework", "kubernetes", "--skip-download", "-o", "json", "-d", str(folder)]
    done = subprocess.run([*command, "--skip-check", ",".join(excused)], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["summary"]["passed"] > 0, done.stderr
    assert found["summary"]["parsing_errors"] == 0, found["results"]["parsing_errors"]
    return [f"{one['check_id']}: {one['file_path']}: {one['resource']}" for one in found["results"]["failed_checks"]]


def test_checkov_finds_nothing_in_the_chart() -> None:
    assert checkov(ROOT / "manifests" / "chart", UNFIT) == []


def test_checkov_finds_nothing_in_the_pods_of_jobs(pods: Path) -> None:
    assert checkov(pods, UNFIT | UNFIT_IN_JOBS) == []


def test_checkov_finds_what_is_wrong(pods: Path, tmp_path: Path) -> None:
    """So the two tests above can fail."""
    for file in pods.glob("evaluate-*.yaml"):
        (tmp_path / file.name).write_text(
            file.read_text().replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true")
        )
    assert any(found.startswith("CKV_K8S_20") for found in checkov(tmp_path, UNFIT | UNFIT_IN_JOBS))
