"""What a cluster or a launch refuses is one line that says what is wrong and what to do; no job is left behind."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import control_plane
from tests.cluster.launched import NAMESPACE, OPTIONS, run, torchx
from tests.cluster.release import Release, namespace
from tests.cluster.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT: Final = ("--root", "s3://reverie/refused")
PRETRAIN: Final = ("components/pretrain.py", *ROOT)
GENERATE: Final = ("components/generate.py", *ROOT)


def refused(made: Cluster, words: tuple[str, ...], options: Mapping[str, str], env: dict[str, str]) -> str:
    """The line with which `torchx run` ends."""
    cfg = ",".join(f"{key}={value}" for key, value in {**OPTIONS, **options}.items())
    done = torchx(made, "run", "-s", "kubernetes", "-cfg", cfg, *words, env=env)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return line


def jobs(made: Cluster) -> list[str]:
    found = made.api.get("/apis/batch.volcano.sh/v1alpha1/jobs")["items"]
    return [one["metadata"]["name"] for one in found]


# Each with what is launched, the options of the launch, and what the line says: the wrong thing, and what to do.
LAUNCHES: Final[dict[str, tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]]] = {
    "unknown pool": ((*PRETRAIN, "--pool", "h200x8"), {}, ("--pool: ", "h200x8", "h100x8")),
    "more GPUs than a node has": (
        (*PRETRAIN, "--pool", "l4x1", "--nproc_per_node", "4"), {}, ("--pool l4x1", "wants 4 GPUs", "has 1"),
    ),
    "no replicas": ((*GENERATE, "--replicas", "0"), {}, ("--replicas", "at least 1, got 0")),
    "unknown recipe": ((*PRETRAIN, "--recipe", "vit_b61"), {}, ("vit_b61", "vit_b16")),
    "unknown key": ((*PRETRAIN, "--", "--schedule.stops", "3"), {}, ("schedule.stops", "schedule.steps")),
    "wrong value": ((*PRETRAIN, "--", "--schedule.steps", "many"), {}, ("schedule.steps", "many")),
    "batch and world size": ((*PRETRAIN, "--nodes", "3"), {}, ("batch.captions must be divisible by 3", "--nodes")),
    "unknown storage": (("components/pretrain.py", "--root", "ftp://x/y"), {}, ("--root", "ftp://x/y", "s3://")),
    "a root that pods do not share": (("components/pretrain.py", "--root", "runs/x"), {}, ("--root runs/x", "s3://")),
    "a credential in an argument": (
        (*PRETRAIN, "--mlflow", "http://ada:pa55@mlflow"), {}, ("in plain text", "-cfg secrets=NAME"),
    ),
    "more pods than one variable can name": ((*GENERATE, "--replicas", "9000"), {}, ("9000", "at most about")),
    "wrong topology": (PRETRAIN, {"topology": "medium"}, ("topology must be soft, hard", "medium")),
    "queue missing": (PRETRAIN, {"queue": "nobody"}, ("nobody", "kubectl get queues")),
    "namespace missing": (PRETRAIN, {"namespace": "nowhere"}, ("nowhere", "-cfg namespace=NAME")),
    "priority class missing": (PRETRAIN, {"priority_class": "royal"}, ("royal", "get priorityclasses")),
    "service account missing": (PRETRAIN, {"service_account": "nobody"}, ("nobody", "service_account=NAME")),
    "quota exceeded": (PRETRAIN, {"namespace": "full", "service_account": "default"}, ("exceeded quota", "raise")),
    "image without digest where policy asks": (
        PRETRAIN, {"namespace": "pinned", "service_account": "default"}, ("digest", "sha256"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def namespaces(made: Cluster, release: Release) -> None:
    """`full` has a quota of no jobs; `pinned` takes images by digest only."""
    namespace(made.api, "full")
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch.volcano.sh": "0"}}}
    made.api.post("/api/v1/namespaces/full/resourcequotas", quota)
    namespace(made.api, "pinned")
    values = ("--set", "policy.requireDigest=true", "--set", f"mlflow.image.digest=sha256:{'0' * 64}")
    Release(made, "pinned-reverie", "pinned").do("install", *release.chart("laptop"), *values)


@pytest.mark.parametrize("case", LAUNCHES)
def test_a_launch_is_refused_in_one_line(made: Cluster, namespaces: None, case: str) -> None:
    words, options, told = LAUNCHES[case]
    before = jobs(made)
    line = refused(made, words, options, {})
    assert all(part in line for part in told), line
    assert jobs(made) == before


@pytest.fixture(scope="module")
def kubeconfigs(
    made: Cluster, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, tuple[str, ...]]]:
    folder = tmp_path_factory.mktemp("kubeconfigs")

    def write(name: str, **changes: Any) -> str:
        tree = yaml.safe_load(made.kubeconfig.read_text())
        tree["clusters"][0]["cluster"] |= changes.get("cluster", {})
        tree["users"][0]["user"] = changes.get("user", tree["users"][0]["user"])
        tree["current-context"] = changes.get("context", tree["current-context"])
        (folder / name).write_text(json.dumps(tree))
        return str(folder / name)

    made.api.post("/api/v1/namespaces/ml/serviceaccounts", {"metadata": {"name": "intern"}})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = made.api.post("/api/v1/namespaces/ml/serviceaccounts/intern/token", body)["status"]["token"]
    (folder / "broken").write_text("clusters: [")
    return {
        "no permission": (write("intern", user={"token": token}), ("cannot create resource", "`submitters`")),
        "expired login": (write("expired", user={"token": "yesterday"}), ("login has expired", "log in again")),
        "nobody answers": (
            write("down", cluster={"server": "https://127.0.0.1:9"}),
            ("127.0.0.1:9", "is the cluster up"),
        ),
        "no such context": (write("other", context="prod"), ("prod", "kubectl config get-contexts")),
        "no file": (str(folder / "none"), ("KUBECONFIG names the file",)),
        "no YAML": (str(folder / "broken"), ("KUBECONFIG names the file",)),
    }


@pytest.mark.parametrize(
    "case", ["no permission", "expired login", "nobody answers", "no such context", "no file", "no YAML"]
)
def test_a_cluster_out_of_reach_is_one_line(
    made: Cluster, kubeconfigs: dict[str, tuple[str, tuple[str, ...]]], case: str
) -> None:
    file, told = kubeconfigs[case]
    line = refused(made, PRETRAIN, {}, {"KUBECONFIG": file})
    assert all(part in line for part in told), line


def test_a_cluster_without_volcano_says_so(made: Cluster, tmp_path: Path) -> None:
    with control_plane(tmp_path / "bare", volcano=False) as bare:
        line = refused(made, PRETRAIN, {"namespace": "default"}, {"KUBECONFIG": str(bare.kubeconfig)})
    assert "the cluster has no Volcano" in line
    assert "docs/kubernetes.md" in line


def test_a_quota_that_stops_the_pods_of_a_job_is_told_by_its_status(made: Cluster, release: Release) -> None:
    namespace(made.api, "crowded")
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    made.api.post("/api/v1/namespaces/crowded/resourcequotas", quota)
    job = run(made, "generate", *ROOT, options={"namespace": "crowded", "service_account": "default"})
    told = ("exceeded quota: none", "raise the namespace's quota")

    def status() -> str:
        return torchx(made, "status", f"kubernetes://torchx/crowded:{job}").stdout

    eventually("its status says why", lambda: all(part in status() for part in told), 60)


def test_what_is_not_there_is_said(made: Cluster, release: Release) -> None:
    done = torchx(made, "describe", f"kubernetes://torchx/{NAMESPACE}:nothing-here")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "nothing-here" in done.stderr
