"""What the chart allows its controller, in a namespace, and a kubeconfig with that and no more."""

import json
from pathlib import Path
from typing import Final

import yaml

from tests.cluster.control_plane import ControlPlane
from tests.helm.chart import render

_PATHS: Final = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def grant(plane: ControlPlane, namespace: str) -> None:
    """Makes the service account of the chart's controller."""
    for one in render("controller: {enabled: true}", namespace=namespace):
        if one["kind"] in _PATHS and "controller" in one["metadata"]["name"]:
            plane.api().post(_PATHS[one["kind"]].format(namespace), one)


def kubeconfig(plane: ControlPlane, namespace: str, file: Path) -> Path:
    """A file that speaks for that account, for an hour."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/reverie-controller/token"
    token = plane.api().post(path, body)["status"]["token"]
    tree = yaml.safe_load(plane.kubeconfig.read_text())
    tree["users"][0]["user"] = {"token": token}
    file.write_text(json.dumps(tree))
    return file
