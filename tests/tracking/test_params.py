"""A config becomes params that MLflow accepts and that anyone may read."""

from typing import Any

import pytest
from pydantic import Field

from config import Section
from tracking.params import MAX_VALUE, name, params, redact, value


class Store(Section):
    """Options of a file system."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Passed on."""


class Tree(Section):
    """A config as a stage has one."""

    root: str = "s3://ada:pa55@bucket/runs"
    """Where."""
    scale: tuple[float, float] = (0.32, 1.0)
    """A range."""
    stop: int | None = None
    """Optional."""
    store: Store = Store()
    """Nested."""


def test_leaves_are_dotted_and_lists_stay_whole() -> None:
    assert params(Tree(root="runs", store=Store(options={"anon": True}))) == {
        "root": "runs",
        "scale": "[0.32, 1.0]",
        "stop": "null",
        "store.options.anon": "true",
    }


def test_credentials_never_become_params() -> None:
    client = {"endpoint_url": "http://u:p4ss@host"}
    options = {"key": "AKIA", "secret": "s3cr3t", "client_kwargs": client, "list": [{"token": "t0k"}]}
    text = str(params(Tree(store=Store(options=options))))
    for secret in ("ada", "pa55", "AKIA", "s3cr3t", "p4ss", "t0k"):
        assert secret not in text
    assert "http://***@host" in text


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:pw@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://b.s3/x?X-Amz-Signature=abc&part=1", "https://b.s3/x?X-Amz-Signature=***&part=1"),
        ("az://c/x?sv=1&sig=abc", "az://c/x?sv=1&sig=***"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("mail ada@example.org", "mail ada@example.org"),
    ],
)
def test_uris_lose_what_authorises_and_nothing_else(uri: str, shown: str) -> None:
    assert redact(uri) == shown


def test_ordinary_fields_keep_their_values() -> None:
    assert value("engine.max_tokens", 20) == "20"
    assert value("resume_key", "run-1") == "run-1"
    assert value("token", None) == "null"


def test_long_values_and_strange_keys_fit_mlflow() -> None:
    assert len(value("text", "a" * 10_000)) == MAX_VALUE
    assert value("text", "a" * 10_000).endswith("…")
    assert name("über/größe%") == "_ber/gr__e_"
