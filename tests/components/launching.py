"""Components as the `torchx` command calls them, without starting anything."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from torchx.specs import AppDef
from torchx.specs.builders import materialize_appdef
from torchx.specs.finder import get_component

STAGES = ("caption", "generate", "pretrain", "evaluate", "pipeline")


def appdef(component: str, *arguments: str) -> AppDef:
    """What `torchx run COMPONENT ARGUMENTS` would run."""
    return materialize_appdef(get_component(component).fn, list(arguments))


def tree(app: AppDef) -> dict[str, Any]:
    """An app as plain values, without those that are empty and without the version of this release."""
    roles = [{key: value for key, value in asdict(role).items() if value} for role in app.roles]
    for role in roles:
        role["image"] = role["image"].replace(version("reverie"), "VERSION")
        role["retry_policy"] = role["retry_policy"].name
        role.pop("resource")  # the scheduler's defaults; node pools come with the cluster
    return {"name": app.name, "roles": roles}
