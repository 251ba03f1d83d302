"""A stage as the Volcano job that runs it: a pure function, by the components and the scheduler of `torchx run`.

    torchx run -s kubernetes components/pretrain.py --recipe ... --root ... -- --batch={...} ...

gives the same object but for its name, our labels, the owner, and the port at which its pods tell their progress.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from torchx.specs import AppDef

from components.caption import caption
from components.errors import LaunchError
from components.evaluate import evaluate
from components.generate import generate
from components.pretrain import pretrain
from components.render import render as renders
from config.report import VARIABLE
from controller.resolve import Resolved, flags
from controller.resource import GROUP, KIND, VERSION, Spec
from controller.spares import with_spares
from controller.status import StageName
from torchx_plugins.volcano.job import job
from torchx_plugins.volcano.options import Options

RUN: Final = f"{GROUP}/run"
STAGE: Final = f"{GROUP}/stage"
ATTEMPT: Final = f"{GROUP}/attempt"
ELASTIC: Final[tuple[StageName, ...]] = ("caption", "image")
"""Stages whose workers come and go: Volcano replaces one that fails, and their number may change."""
REPORTING: Final[tuple[StageName, ...]] = ("caption", "image", "pretrain", "evaluate")
"""Stages whose pods say how far they are, or what came out."""
PROGRESS_PORT: Final = 9465  # where they do; helm/reverie/templates/controller/networkpolicy.yaml names it too


@dataclass(frozen=True)
class Owner:
    """The resource that a job belongs to."""

    name: str
    namespace: str
    uid: str

    @property
    def reference(self) -> dict[str, Any]:
        """So that a job goes with its resource, whatever becomes of the controller."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def render(
    owner: Owner, stage: StageName, attempt: int, spec: Spec, resolved: Resolved, avoids: Sequence[str] = ()
) -> dict[str, Any]:
    """The job of an attempt at a stage. Its name depends on these alone: making it twice makes it once.

    `avoids` are nodes that its pods are kept from.

    Raises:
        LaunchError: no such node pool, or a batch or a model that its nodes cannot hold.
    """
    try:
        app = replace(app_def(stage, spec, resolved), name=f"{owner.name}-{stage}")
        made = job(app, options(owner, stage, attempt, spec), unique(owner, stage, attempt))
    except LaunchError as error:
        raise LaunchError(as_fields(str(error), stage, spec)) from None
    made["metadata"]["ownerReferences"] = [owner.reference]
    if avoids:
        for task in made["spec"]["tasks"]:
            task["template"]["spec"].setdefault("affinity", {})["nodeAffinity"] = away_from(avoids)
    if stage == "pretrain" and spec.pretrain.spares:
        made = with_spares(made)
    assert made["metadata"]["name"] == job_name(owner, stage, attempt), "the CRD admits no name that would be cut"
    return made


def as_fields(message: str, stage: StageName, spec: Spec) -> str:
    """What is said of a component's flags, said of the fields that they were made of."""
    place = "evaluate" if stage == "render" else stage
    own = getattr(spec, place).pool
    fields = {
        "pool": f"spec.{place}.pool" if own else "spec.pool",
        "nproc_per_node": "spec.pretrain.processesPerNode",
        "nodes": "spec.pretrain.nodes",
        "root": "spec.root",
    }
    return re.sub(rf"--({'|'.join(fields)})\b", lambda flag: fields[flag[1]], message)


def away_from(nodes: Sequence[str]) -> dict[str, Any]:
    """A node affinity: none of these. By the node's name, which its label `kubernetes.io/hostname` need not equal; such
    a field takes one value at a time."""
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": fields}]}}


def job_name(owner: Owner, stage: StageName, attempt: int) -> str:
    """Of the job of an attempt."""
    return f"{owner.name}-{stage}-{unique(owner, stage, attempt)}"


def app_def(stage: StageName, spec: Spec, resolved: Resolved) -> AppDef:
    """What the component of a stage gives for a run."""
    app = _APPS[stage](spec, resolved, _common(stage, spec, resolved))
    if stage in REPORTING:
        for role in app.roles:
            role.env[VARIABLE] = str(PROGRESS_PORT)
    return app


def options(owner: Owner, stage: StageName, attempt: int, spec: Spec) -> Options:
    """The `-cfg` of a launch. A gang's restarts are the controller's to count and to space; a worker that fails is
    replaced at once."""
    return Options(
        namespace=owner.namespace,
        queue=spec.queue,
        pool=spec.pool,
        service_account=spec.service_account or None,
        secrets=list(spec.secrets) or None,
        image_pull_secrets=list(spec.image_pull_secrets) or None,
        priority_class=spec.priority_class or None,
        topology=spec.topology,
        retries=spec.failure_policy.max_restarts if stage in ELASTIC else 0,
        grace_seconds=spec.grace_seconds,
        labels=labels(owner.name, stage, attempt),
    )


def labels(name: str, stage: StageName, attempt: int) -> dict[str, str]:
    """Labels of a job and its pods."""
    return {RUN: name, STAGE: stage, ATTEMPT: str(attempt)}


def unique(owner: Owner, stage: StageName, attempt: int) -> str:
    """What tells a job from those of other attempts, and of an earlier resource of the same name."""
    return hashlib.sha256(f"{owner.uid} {stage} {attempt}".encode()).hexdigest()[:8]


def _common(stage: StageName, spec: Spec, resolved: Resolved) -> dict[str, Any]:
    place = spec.evaluate if stage == "render" else getattr(spec, stage)
    return {"image": resolved.images[stage], "threads": place.threads, "pool": place.pool or spec.pool}


def _caption(spec: Spec, resolved: Resolved, common: Mapping[str, Any]) -> AppDef:
    of: dict[str, Any] = {"recipe": spec.recipes.generate, "root": spec.root, "replicas": spec.caption.replicas}
    return caption(*flags(resolved.generate), **of, **common)


def _image(spec: Spec, resolved: Resolved, common: Mapping[str, Any]) -> AppDef:
    of: dict[str, Any] = {"recipe": spec.recipes.generate, "root": spec.root, "replicas": spec.image.replicas}
    return generate(*flags(resolved.generate), **of, **common)


def _render(spec: Spec, resolved: Resolved, common: Mapping[str, Any]) -> AppDef:
    return renders(root=spec.root, data=resolved.evaluate.data, **common)


def _pretrain(spec: Spec, resolved: Resolved, common: Mapping[str, Any]) -> AppDef:
    of: dict[str, Any] = {"recipe": spec.recipes.pretrain, "root": spec.root, "nodes": spec.pretrain.nodes}
    return pretrain(*flags(resolved.pretrain), nproc_per_node=spec.pretrain.processes_per_node, **of, **common)


def _evaluate(spec: Spec, resolved: Resolved, common: Mapping[str, Any]) -> AppDef:
    return evaluate(*flags(resolved.evaluate), recipe=spec.recipes.evaluate, root=spec.root, **common)


_APPS: Final[Mapping[StageName, Callable[[Spec, Resolved, Mapping[str, Any]], AppDef]]] = {
    "caption": _caption,
    "image": _image,
    "render": _render,
    "pretrain": _pretrain,
    "evaluate": _evaluate,
}
