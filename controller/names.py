"""Names of keys: `per_caption` in a config and on a command line is `perCaption` in a resource, as in Kubernetes."""

import re
from typing import Any


def camel(name: str) -> str:
    """`per_caption` to `perCaption`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def snake(name: str) -> str:
    """`perCaption` to `per_caption`."""
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


def snake_keys(tree: Any) -> Any:
    """A tree of a resource with the keys of a config, at every level. Config sections hold no maps with free keys."""
    if isinstance(tree, dict):
        return {snake(key): snake_keys(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [snake_keys(value) for value in tree]
    return tree
