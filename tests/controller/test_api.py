"""Requests to the API server: how they are counted, and what they carry."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.api import as_yaml, resource_of
from controller.apply import jobs_path, runs_path


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (runs_path(), "reveries"),
        (runs_path("ml"), "reveries"),
        (runs_path("ml", "nano"), "reveries"),
        (f"{runs_path('ml', 'nano')}/status", "reveries/status"),
        (jobs_path("ml", "nano-image-1"), "jobs"),
        ("/api/v1/pods", "pods"),
        ("/api/v1/namespaces/ml/pods", "pods"),
        ("/apis/events.k8s.io/v1/namespaces/ml/events", "events"),
        ("/apis/coordination.k8s.io/v1/namespaces/ml/leases/reverie-controller", "leases"),
    ],
)
def test_a_request_counts_for_its_resource_whatever_the_object_and_the_namespace(path: str, resource: str) -> None:
    assert resource_of(path) == resource


@example("\ud000")  # Hangul: the codes of halves begin at d800
@given(st.text(st.characters(codec="utf-8")))
def test_what_is_applied_is_the_same_text_without_surrogates(text: str) -> None:
    """YAML has no escape for half a character; `\\ud83c` as six characters is another thing."""
    for said in (text, text + "\\ud83c\\udfd6 \U0001f3d6"):
        applied = as_yaml({"said": said})
        assert json.loads(applied) == {"said": said}
        assert not re.search(r"\\ud[89a-f]", applied.decode().replace("\\\\", ""))


def test_half_a_character_is_replaced() -> None:
    assert json.loads(as_yaml({"said": "\ud83c!"})) == {"said": "\ufffd!"}
