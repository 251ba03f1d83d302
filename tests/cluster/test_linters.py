"""Other people's checkers find nothing in what the chart and the components render; each exception has its reason."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.cluster import ROOT, Cluster
from tests.helm.chart import SCENARIOS
from tests.servers.built import go_binary

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

HERE: Final = Path(__file__).parent
RENDERED: Final = [ROOT / "manifests" / "chart" / f"{scenario}.yaml" for scenario in SCENARIOS]
COMPONENTS: Final = sorted((ROOT / "tests" / "torchx_plugins" / "volcano" / "golden").glob("*.yaml"))
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
    program = go_binary(HERE / "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform")
    where = f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    skipped = ["-skip", "ServiceMonitor"]  # of the Prometheus operator, which the cluster does not have
    command = [str(program), "-strict", "-summary", "-schema-location", where, *skipped, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid: 0," not in done.stdout, "something was looked at"


@pytest.mark.parametrize("file", RENDERED, ids=lambda file: file.stem)
def test_kube_score_finds_nothing(file: Path) -> None:
    program = go_binary(HERE / "kubescore", "github.com/zegl/kube-score/cmd/kube-score", name="kube-score")
    excused = [word for test in EXCUSED for word in ("--ignore-test", test)]
    done = subprocess.run([str(program), "score", *excused, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
