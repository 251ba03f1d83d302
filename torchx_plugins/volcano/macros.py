"""TorchX's macros, for a template that all replicas of a role share.

TorchX fills in `${replica_id}` per replica, which would need a template per replica. Kubernetes itself replaces
`$(NAME)` in command and arguments by a variable of the container, and Volcano gives each pod VC_TASK_INDEX: so that
stands there instead, and what else looks like it is escaped.
"""

import re
from typing import Final

from torchx.specs import Role
from torchx.specs import macros as torchx

from components.errors import LaunchError

RANK0: Final = "TORCHX_RANK0_HOST"
_REPLICA: Final = "\0replica\0"


def fill_in(role: Role, job: str) -> Role:
    """A copy of a role without macros, for Kubernetes.

    `rank0_env` is the variable with the DNS name of the role's own first replica: roles of ours meet among themselves.

    Raises:
        LaunchError: a variable depends on the replica; Kubernetes sets Volcano's index after those of the job.
    """
    values = torchx.Values(img_root="", app_id=job, replica_id=_REPLICA, rank0_env=RANK0)
    filled = values.apply(role)
    for name, value in filled.env.items():
        if _REPLICA in value:
            raise LaunchError(f"role {role.name}: the variable {name} uses the replica's number; read VC_TASK_INDEX")
    filled.args = [_index(escape(argument)) for argument in filled.args]
    filled.entrypoint = escape(filled.entrypoint)
    filled.env = {name: escape(value) for name, value in filled.env.items()}
    return filled


def escape(text: str) -> str:
    """Text that Kubernetes turns back into this one: it reads `$$` as `$` and `$(NAME)` as a variable."""
    return re.sub(r"\$(?=[$(])", "$$", text)


def _index(text: str) -> str:
    return text.replace(_REPLICA, "$(VC_TASK_INDEX)")
