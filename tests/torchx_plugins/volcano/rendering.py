"""Volcano jobs as `torchx run -s kubernetes COMPONENT ARGUMENTS` would submit them, under a fixed name."""

from importlib.metadata import version
from typing import Any

import torchx

from config.yamls import dump
from tests.components.launching import appdef
from torchx_plugins.volcano.job import job
from torchx_plugins.volcano.options import Options


def render(component: str, *arguments: str, **options: Any) -> dict[str, Any]:
    """The job of a component of ours."""
    return job(appdef(component, *arguments), Options(**options), "q1w2")


def text(rendered: dict[str, Any]) -> str:
    """As YAML, without the versions of this release."""
    plain = dump(rendered).replace(torchx.__version__, "TORCHX")
    return plain.replace(f":{version('reverie')}", ":VERSION")


def pods(rendered: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod specs of a job's tasks."""
    return [task["template"]["spec"] for task in rendered["spec"]["tasks"]]


def task(rendered: dict[str, Any], name: str) -> dict[str, Any]:
    """A task by name."""
    return next(one for one in rendered["spec"]["tasks"] if one["name"] == name)
