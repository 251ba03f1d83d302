"""Makes `torchx run components/evaluate.py` work without naming the function: see `components/aliases/__init__.py`."""

from typing import Any

from torchx.specs import AppDef

from components import evaluate as component
from components.aliases import like


@like(component.evaluate)
def py(*overrides: str, **options: Any) -> AppDef:
    """Replaced by the component's own."""
    return component.evaluate(*overrides, **options)
