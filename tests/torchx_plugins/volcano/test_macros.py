"""Text comes through Kubernetes as it was written, and the replica's number is Volcano's."""

import re

from hypothesis import given
from hypothesis import strategies as st
from torchx.specs import Role

from torchx_plugins.volcano.macros import escape, fill_in


def expanded(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of an argument (k8s.io/kubernetes/third_party/forked/golang/expansion): `$$` is `$`,
    `$(NAME)` is the variable, and what is neither stays."""
    found = re.compile(r"\$(\$|\(([^)]*)\))")
    return found.sub(lambda one: "$" if one[1] == "$" else variables.get(one[2], one[0]), text)


@given(st.text(alphabet="$()aHOME {}", max_size=20))
def test_any_text_comes_through_as_it_was(text: str) -> None:
    assert expanded(escape(text), {"HOME": "!", "a": "!"}) == text


def test_macros_are_filled_in() -> None:
    role = Role("a", image="i", entrypoint="bash", args=["${app_id}", "$${${rank0_env}:=x}", "n-${replica_id}", "$$$$"])
    filled = fill_in(role, "job-1")
    assert filled.args == ["job-1", "${TORCHX_RANK0_HOST:=x}", "n-$(VC_TASK_INDEX)", "$$$"]
    assert expanded(filled.args[2], {"VC_TASK_INDEX": "7"}) == "n-7"
    assert role.args[0] == "${app_id}", "the role that was given stays as it is"
