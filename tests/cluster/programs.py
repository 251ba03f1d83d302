"""The programs of a Kubernetes control plane and of its tests, built from their Go modules at pinned versions.

    python -m tests.cluster.programs      # builds what is not in ~/.cache/reverie

Cold, this takes a quarter of an hour on two cores, and no time after that.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.servers.built import go_binary
from tests.servers.s3 import versitygw

HERE: Final = Path(__file__).parent
KUBERNETES: Final = "v1.35.3"
VOLCANO: Final = "v1.15.1"
_VERSION: Final = "k8s.io/component-base/version"
_KUBERNETES_FLAGS: Final = (
    f"-s -w -X {_VERSION}.gitVersion={KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=35"
    f" -X {_VERSION}.gitTreeState=clean"
)
_GATE: Final = {("volcano.sh/apis", "pkg/apis/scheduling/v1beta1/gate.go"): HERE / "volcano" / "gate.go"}


def etcd() -> Path:
    return go_binary(HERE / "etcd", "go.etcd.io/etcd/server/v3", name="etcd")


def kubernetes(program: str) -> Path:
    """kube-apiserver, kube-controller-manager or kube-scheduler."""
    return go_binary(HERE / "kubernetes", f"k8s.io/kubernetes/cmd/{program}", ldflags=_KUBERNETES_FLAGS)


def kubectl() -> Path:
    return go_binary(HERE / "kubectl", "k8s.io/kubernetes/cmd/kubectl", ldflags=_KUBERNETES_FLAGS)


def volcano(program: str) -> Path:
    """controller-manager, scheduler or webhook-manager."""
    package = f"volcano.sh/volcano/cmd/{program}"
    return go_binary(HERE / "volcano", package, name=f"volcano-{program}", added=_GATE)


def kwok() -> Path:
    return go_binary(HERE / "kwok", "sigs.k8s.io/kwok/cmd/kwok")


def kubeconform() -> Path:
    return go_binary(HERE / "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform")


def kube_score() -> Path:
    return go_binary(HERE / "kubescore", "github.com/zegl/kube-score/cmd/kube-score", name="kube-score")


def every_one() -> Iterator[Path]:
    yield from (etcd(), kwok(), kubectl(), kubeconform(), kube_score(), versitygw())
    for program in ("apiserver", "controller-manager", "scheduler"):
        yield kubernetes(f"kube-{program}")
    for program in ("controller-manager", "scheduler", "webhook-manager"):
        yield volcano(program)


if __name__ == "__main__":
    for made in every_one():
        print(made, flush=True)
