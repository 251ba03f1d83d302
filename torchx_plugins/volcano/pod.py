"""The pod of a role, as a template for all its replicas. It passes Pod Security `restricted`.

Not root, no capabilities, a read-only root file system; what is written goes to /tmp, on the node's disk and bounded.
/dev/shm is memory and bounded too. No token of the cluster: a stage talks to storage and MLflow only.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import torchx
from torchx.specs import Role, VolumeMount

from components.errors import LaunchError
from torchx_plugins.volcano.credentials import refuse_literals
from torchx_plugins.volcano.needs import Needs
from torchx_plugins.volcano.options import Options

USER: Final = 10001  # above 10000, so that it is nobody's on the node
TMP: Final = "/tmp"  # noqa: S108 - the pod's own
LOST_NODE: Final = 60  # seconds until the pods of a silent node are given up; Kubernetes waits 300
_FROM_FIELD: Final = "[FIELD_PATH]"  # TorchX's sign that a variable comes from a field of the pod

# Where libraries write when nobody says where: all below /tmp. USER because a uid without a name has none.
_HOMES: Final = {
    "HOME": TMP,
    "USER": "reverie",
    "XDG_CACHE_HOME": f"{TMP}/cache",
    "HF_HOME": f"{TMP}/cache/huggingface",
    "TORCHINDUCTOR_CACHE_DIR": f"{TMP}/cache/inductor",
    "TRITON_CACHE_DIR": f"{TMP}/cache/triton",
    "VLLM_CACHE_ROOT": f"{TMP}/cache/vllm",
    "MPLCONFIGDIR": f"{TMP}/cache/matplotlib",
    "PYTHONUNBUFFERED": "1",
}


def template(
    role: Role, task: str, needs: Needs, env: Mapping[str, str], labels: Mapping[str, str], options: Options
) -> dict[str, Any]:
    """The pod template of a task.

    Args:
        role: without macros.
        task: its name in Kubernetes, also the container's.
        needs: what it needs of a node.
        env: variables of the launch; the role's own win.
        labels: of the pod.
        options: of the launch.

    Raises:
        LaunchError: the role holds a credential, or mounts a folder or device of the node.
    """
    argv = [role.entrypoint, *role.args]
    refuse_literals(role.name, argv, role.env)
    volumes, mounts = _volumes(role, needs, options)
    container = {
        "name": task,
        "image": role.image,
        "imagePullPolicy": "IfNotPresent",
        "command": argv[:1],
        "args": argv[1:],
        "env": _env({**_HOMES, **env, **role.env}),
        "envFrom": [{"secretRef": {"name": name}} for name in options.secret_variables],
        "ports": [{"name": name, "containerPort": port} for name, port in role.port_map.items()],
        "resources": {"requests": dict(needs.resources), "limits": dict(needs.resources)},
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # so that a status says the last error
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }
    spec = {
        "restartPolicy": "Never",  # Volcano decides, by the exit code
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "serviceAccountName": options.service_account,
        "imagePullSecrets": [{"name": name} for name in options.image_pull_secrets or []],
        "terminationGracePeriodSeconds": options.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": dict(needs.selector),
        "tolerations": _tolerations(needs),
        "containers": [_full(container)],
        "volumes": volumes,
    }
    # A sidecar of Istio would outlive the container, and the pod would never end.
    metadata = {"labels": dict(labels), "annotations": {"sidecar.istio.io/inject": "false"}}
    return {"metadata": metadata, "spec": _full(spec)}


def near_each_other(topology: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """An affinity: pods with these labels on nodes with the same value of a label, if there is room."""
    term = {"topologyKey": topology, "labelSelector": {"matchLabels": dict(labels)}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def pod_labels(app: str, task: str, job: str) -> dict[str, str]:
    """Labels of a task's pods: TorchX's, and Kubernetes' recommended ones."""
    return {
        "app.kubernetes.io/name": label_value(app),
        "app.kubernetes.io/instance": job,
        "app.kubernetes.io/component": task,
        "app.kubernetes.io/managed-by": "reverie",
        "torchx.pytorch.org/version": label_value(torchx.__version__),
        "torchx.pytorch.org/app-name": label_value(app),
        "torchx.pytorch.org/role-name": task,
    }


def label_value(text: str) -> str:
    """The label value nearest to a text: at most 63 of letters, digits, `-_.`, a letter or digit at both ends."""
    return re.sub(r"[^A-Za-z0-9\-_.]", ".", text)[:63].strip("-_.")


def _env(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    def one(name: str, value: str) -> dict[str, Any]:
        if value.startswith(_FROM_FIELD):
            return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": value.removeprefix(_FROM_FIELD)}}}
        return {"name": name, "value": value}

    return [one(name, value) for name, value in variables.items()]


def _volumes(role: Role, needs: Needs, options: Options) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of the pod, and where its container sees them."""
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": needs.shm}},
        {"name": "tmp", "emptyDir": {"sizeLimit": needs.scratch}},
    ]
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": TMP}]  # noqa: S108
    for name, folder in options.secret_files.items():
        volumes.append({"name": f"secret-{name}"[:63], "secret": {"secretName": name, "defaultMode": 0o440}})
        mounts.append({"name": f"secret-{name}"[:63], "mountPath": folder, "readOnly": True})
    for index, mount in enumerate(role.mounts):
        if not isinstance(mount, VolumeMount):
            raise LaunchError(
                f"role {role.name}: a {type(mount).__name__} of the node's {mount.src_path} is not allowed in a pod "
                f"that passes Pod Security `restricted`; mount a claim: type=volume,src=CLAIM,dst={mount.dst_path}"
            )
        volumes.append({"name": f"claim-{index}", "persistentVolumeClaim": {"claimName": mount.src}})
        mounts.append({"name": f"claim-{index}", "mountPath": mount.dst_path, "readOnly": mount.read_only})
    return volumes, mounts


def _tolerations(needs: Needs) -> list[dict[str, Any]]:
    lost = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    return [
        *(_full(one.model_dump()) for one in needs.tolerations),
        *({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE} for key in lost),
    ]


def _full(tree: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {key: value for key, value in tree.items() if value not in (None, "", [], {})}
