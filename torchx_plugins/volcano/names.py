"""Names that Kubernetes takes: of a job, its tasks and pods, and how long they may be.

A pod is `<job>-<task>-<index>`, which is also its host name; with the job's name as subdomain it is
`<pod>.<job>` in DNS, from any pod of the namespace. So both must be DNS labels.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from components.errors import LaunchError

LONGEST: Final = 63  # characters of a DNS label
_LONGEST_TASK: Final = 40  # leaves room for job and index
# Volcano puts all host names of a task into one environment variable, and Linux takes no longer one (MAX_ARG_STRLEN).
_HOSTS_BYTES: Final = 131_072


def label(text: str) -> str:
    """The DNS label nearest to a text: `Pre_Train.py` gives `pre-train-py`. Empty if nothing of it can stand there."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def task_names(roles: Iterable[str]) -> dict[str, str]:
    """The task of each role.

    Raises:
        LaunchError: a name is empty or too long as a label, or two roles have the same one.
    """
    tasks: dict[str, str] = {}
    for role in roles:
        task = label(role)
        if not task or len(task) > _LONGEST_TASK:
            raise LaunchError(
                f"role {role!r}: a name needs 1 to {_LONGEST_TASK} letters, digits or dashes to be one in Kubernetes"
            )
        if task in tasks.values():
            raise LaunchError(f"role {role!r}: another role is called {task} in Kubernetes too; rename one")
        tasks[role] = task
    return tasks


def job_name(app: str, unique: str, replicas: Mapping[str, int]) -> str:
    """`<app>-<unique>`, the app's name cut so that the longest pod name fits, led by a letter as a Service must be.

    Args:
        app: name of the app, as the user wrote it.
        unique: what tells this launch from others, lower-case letters and digits.
        replicas: pods of each task.

    Raises:
        LaunchError: the hosts of a task would not fit into an environment variable, or no room is left for the job.
    """
    tail = max(len(pod_name("", task, max(count - 1, 0))) for task, count in replicas.items())
    room = LONGEST - tail - len(unique) - 1
    if room < 1:
        longest = max(replicas, key=len)
        raise LaunchError(f"role {longest}: its pods' names would be longer than {LONGEST} characters; shorten it")
    head = label(app) or "job"
    head = head if head[0].isalpha() else f"job-{head}"
    name = f"{head[:room].strip('-')}-{unique}"
    for task, count in replicas.items():
        if len(hosts(name, task, count)) >= _HOSTS_BYTES:
            most = _HOSTS_BYTES // (len(host(name, task, count - 1)) + 1)
            raise LaunchError(
                f"role {task}: the names of {count} pods do not fit into one environment variable, as Volcano writes "
                f"them; at most about {most} do, more with a shorter name"
            )
    return name


def pod_name(job: str, task: str, index: int) -> str:
    """As Volcano makes it."""
    return f"{job}-{task}-{index}"


def host(job: str, task: str, index: int) -> str:
    """DNS name of a pod, as seen from its namespace. The service of Volcano's svc plugin has the job's name."""
    return f"{pod_name(job, task, index)}.{job}"


def hosts(job: str, task: str, replicas: int) -> str:
    """What Volcano's svc plugin writes into VC_<TASK>_HOSTS."""
    return ",".join(host(job, task, index) for index in range(replicas))
