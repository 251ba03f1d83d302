"""The few calls to a cluster, as plain objects, and its refusals as one line that says what to do.

The number of calls does not depend on the replicas: pods come as lists, a page of 500 at a time.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from components.errors import LaunchError
from torchx_plugins.volcano.commands import command, commands_path
from torchx_plugins.volcano.job import GROUP, VERSION
from torchx_plugins.volcano.refusals import no_such_api, refusal, said_by
from torchx_plugins.volcano.status import JOB_NAME

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_PAGE: Final = 500  # objects per answer, as kubectl
_PATIENCE: Final = 30  # seconds for an answer


class Cluster:
    """Volcano jobs of a cluster. Every method raises LaunchError, with one line, when the cluster refuses."""

    def __init__(self, client: "ApiClient") -> None:
        self._client = client

    def job(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A job; None if there is none of that name. One call."""
        return self._get(_path(namespace, name), f"job {namespace}:{name}")

    def jobs(self, namespace: str) -> list[dict[str, Any]]:
        """All jobs of a namespace. One call per 500."""
        return list(self._list(_path(namespace), {}, f"jobs in namespace {namespace}"))

    def pods(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """The pods of a job that exist. One call per 500."""
        path, query = f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": f"{JOB_NAME}={name}"}
        return list(self._list(path, query, f"pods of job {namespace}:{name}"))

    def warnings(self, namespace: str, name: str) -> list[str]:
        """What the cluster warned of a job, the last one first. One call."""
        path = f"/api/v1/namespaces/{namespace}/events"
        query = {"fieldSelector": f"involvedObject.kind=Job,involvedObject.name={name},type=Warning"}
        events = list(self._list(path, query, f"events of job {namespace}:{name}"))
        return [one["message"] for one in sorted(events, key=lambda one: one["lastTimestamp"] or "", reverse=True)]

    def has(self, path: str) -> bool:
        """Whether there is an object at a path of the API, as far as one may look. One call."""
        try:
            return self._get(path, path) is not None
        except LaunchError:
            return True  # submitters need not be allowed to look; what else is wrong, `create` meets too

    def create(self, job: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Submits a job, or lets the cluster only look at it. One call."""
        meta = job["metadata"]
        what = f"submit job {meta['namespace']}:{meta['name']}"
        query = {"dryRun": "All"} if dry_run else {}
        return dict(json.loads(self._call(what, "POST", _path(meta["namespace"]), query, job).data))

    def abort(self, namespace: str, job: Mapping[str, Any]) -> None:
        """Asks Volcano to end a job and keep it. One call."""
        what = f"cancel job {namespace}:{job['metadata']['name']}"
        self._call(what, "POST", commands_path(namespace), {}, command(job, "AbortJob"))

    def delete(self, namespace: str, name: str) -> None:
        """Removes a job and its pods; nothing happens if there is none. One call."""
        query = {"propagationPolicy": "Background"}
        self._call(f"delete job {namespace}:{name}", "DELETE", _path(namespace, name), query, absent_is_fine=True)

    def log(self, namespace: str, pod: str, query: Mapping[str, Any]) -> Iterator[str]:
        """Lines of a pod's log, as they come if `follow` is in the query. One call."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        timeout = None if query.get("follow") else _PATIENCE
        what = f"read the log of pod {namespace}:{pod}"
        response = self._call(what, "GET", path, query, timeout=timeout, stream=True)
        try:
            rest = b""
            for chunk in response.stream(2**16, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (f"{line.decode(errors='replace')}\n" for line in lines)
            if rest:
                yield f"{rest.decode(errors='replace')}\n"
        finally:
            response.close()

    def _get(self, path: str, what: str) -> dict[str, Any] | None:
        answer = self._call(f"read {what}", "GET", path, {}, absent_is_fine=True)
        return None if answer is None else dict(json.loads(answer.data))

    def _list(self, path: str, query: Mapping[str, Any], what: str) -> Iterator[dict[str, Any]]:
        page = {**query, "limit": _PAGE}
        while True:
            answer = json.loads(self._call(f"list {what}", "GET", path, page).data)
            yield from answer["items"]
            token = answer["metadata"].get("continue")
            if not token:
                return
            page["continue"] = token

    def _call(
        self,
        what: str,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any = None,
        *,
        absent_is_fine: bool = False,
        timeout: float | None = _PATIENCE,
        stream: bool = False,
    ) -> Any:
        """One request with the client's address, certificates and token.

        The client's own methods for Volcano's objects do the same with more words, and its lists of pods become models
        first, which takes seconds for 1,000.

        Returns:
            the response; None for 404 if that is fine.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        client = self._client
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            request = client.param_serialize(
                method, path, query_params=list(query.items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response = client.call_api(*request, _request_timeout=timeout).response
            answer = b"" if stream and response.status < 300 else response.data
        except (HTTPError, ApiException) as error:  # the client's own is for certificates
            why = getattr(error, "reason", None) or error
            raise LaunchError(
                f"cannot {what}: {client.configuration.host} does not answer: {why}; is it the right context of the "
                "kubeconfig, and is the cluster up?"
            ) from None
        if 200 <= response.status < 300:
            return response
        text = answer.decode(errors="replace")
        if absent_is_fine and response.status == 404 and not no_such_api(404, said_by(text)):
            return None
        raise LaunchError(refusal(what, response.status, text))


def _path(namespace: str, name: str = "") -> str:
    jobs = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/jobs"
    return f"{jobs}/{name}" if name else jobs
