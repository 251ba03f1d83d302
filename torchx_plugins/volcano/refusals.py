"""What a cluster answers when it refuses, as one line with what to do."""

import json
import re
from typing import Any, Final

_LOGIN: Final = (
    "log in again (aws eks update-kubeconfig, gcloud container clusters get-credentials, az aks get-credentials)"
)


def refusal(what: str, status: int, answer: str) -> str:
    """A line for a person who was refused.

    Args:
        what: what was tried, as in `submit job ml:pretrain-1`.
        status: of HTTP.
        answer: body of the response; a Status object of Kubernetes, or anything.
    """
    said = said_by(answer)
    return f"cannot {what}: {_advice(status, said)}"


def refused_pods(event: str) -> str:
    """A line for a person whose job's pods were refused.

    Args:
        event: Volcano's words, which hold the API server's as Go prints a struct: `... Message:"pods ..." ...`.
    """
    quoted = re.search(r'Message:"((?:[^"\\]|\\.)*)"', event)
    said = quoted[1].replace('\\"', '"') if quoted else " ".join(event.split())[:500]
    return f"its pods cannot be made: {_with_advice(said)}"


def _advice(status: int, said: str) -> str:
    if status == 401:
        return f"the cluster does not know who you are (401); the kubeconfig's login has expired: {_LOGIN}"
    if no_such_api(status, said):
        return "the cluster has no Volcano, or it is not installed whole; docs/kubernetes.md says how to install it"
    return _with_advice(f"{said or 'no reason given'} ({status})")


def _with_advice(said: str) -> str:
    """The rules, most telling first."""
    rules = (
        ("unable to find job queue", "kubectl get queues lists those there are; -cfg queue=NAME takes one"),
        ("exceeded quota", "delete finished jobs, ask for less, or raise the namespace's quota"),
        ("violates podsecurity", "the namespace enforces Pod Security; the line names what it minds"),
        ("failed calling webhook", "Volcano's admission does not answer; is volcano-admission running?"),
        ("priorityclass", "kubectl get priorityclasses lists those there are; -cfg priority_class=NAME takes one"),
        ("namespaces ", "make the namespace, or take another: -cfg namespace=NAME"),
        ("cannot ", "you have no permission; the chart's `submitters` gives it to people and accounts"),
        ("already exists", "submit again: the next one has another name"),
    )
    advice = next((what for sign, what in rules if sign in said.lower()), "")
    return said + (f"; {advice}" if advice else "")


def no_such_api(status: int, said: str) -> bool:
    """Whether the kind itself is unknown, and not only an object of it."""
    return status == 404 and ("page not found" in said or "could not find the requested resource" in said)


def said_by(answer: str) -> str:
    """The message of a Status object, on one line; else the start of the text."""
    try:
        status: Any = json.loads(answer)
    except ValueError:
        status = None
    text = status.get("message", "") if isinstance(status, dict) else answer[:500]
    return " ".join(str(text).split())
