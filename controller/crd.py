"""The CRD of `Reverie`, made from the models: `python -m controller.crd` writes it, `make manifests` calls that.

With `--spec` only its spec, for the chart, which gives it a head of its own.
"""

import sys
from typing import Any, Final

from config.yamls import dump
from controller.resource import GROUP, KIND, PLURAL, VERSION, Spec
from controller.rules import object_rules, spec_rules
from controller.schema import whole
from controller.status import Status

COLUMNS: Final = (
    ("Phase", "string", ".status.phase"),
    ("Stage", "string", ".status.stage"),
    ("Progress", "string", ".status.progress"),
    ("Images/s", "number", ".status.imagesPerSecond"),
    ("ETA", "string", ".status.eta"),
    ("Age", "date", ".metadata.creationTimestamp"),
)
_HEAD: Final = (
    "# Made by `make manifests` from controller/resource.py and the configs of the stages. Not edited by hand.\n"
)


def crd() -> dict[str, Any]:
    """The object to apply."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["rev"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    schema = {
        "type": "object",
        "description": "One run from a list of concepts to a pretrained and evaluated vision encoder.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": whole(Spec) | {"x-kubernetes-validations": spec_rules()},
            "status": whole(Status, defaults=False),
        },
        "x-kubernetes-validations": object_rules(),
    }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.image.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [{"name": name, "type": kind, "jsonPath": path} for name, kind, path in COLUMNS],
    }


if __name__ == "__main__":
    made = crd()
    sys.stdout.write(_HEAD + dump({"spec": made["spec"]} if sys.argv[1:] == ["--spec"] else made))
