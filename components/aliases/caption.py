"""Makes `torchx run components/caption.py` work without naming the function: see `components/aliases/__init__.py`."""

from typing import Any

from torchx.specs import AppDef

from components import caption as component
from components.aliases import like


@like(component.caption)
def py(*overrides: str, **options: Any) -> AppDef:
    """Replaced by the component's own."""
    return component.caption(*overrides, **options)
