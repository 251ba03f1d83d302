"""The API server as plain JSON: what a node agent needs, without the models of a client library."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes import client, config

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class ApiError(RuntimeError):
    """The server said no. `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """Requests as a kubeconfig's current context says."""

    def __init__(self, kubeconfig: Path) -> None:
        configuration = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        configuration.connection_pool_maxsize = 32
        configuration.retries = 3
        self.server = configuration.host
        self._client = client.ApiClient(configuration)
        self._pool = self._client.rest_client.pool_manager

    def get(self, path: str) -> Json:
        return self._json("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> Json:
        return self._json("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any], kind: str = STRATEGIC) -> Json:
        return self._json("PATCH", path, body, kind)

    def delete(self, path: str, **options: Any) -> Json:
        return self._json("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    def watch(self, path: str, seconds: int = 30) -> Iterator[Json]:
        """What is there now, as ADDED events, then what changes, for `seconds`."""
        joined, token = "&" if "?" in path else "?", ""
        while True:  # thousands at once would take the server longer than it takes to answer
            listed = self.get(f"{path}{joined}limit=500{token}")
            for item in listed["items"]:
                yield {"type": "ADDED", "object": item}
            if not (more := listed["metadata"].get("continue")):
                break
            token = f"&continue={more}"
        version = listed["metadata"]["resourceVersion"]
        where = f"{path}{joined}watch=1&resourceVersion={version}&timeoutSeconds={seconds}"
        answer = self._pool.request(
            "GET", self.server + where, headers=self._headers(), preload_content=False, timeout=seconds + 10
        )
        try:
            rest = b""
            for part in answer.stream(65536):
                *lines, rest = (rest + part).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            answer.close()

    def _json(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Json:
        headers = {"Content-Type": kind, "Accept": "application/json", **self._headers()}
        data = None if body is None else json.dumps(body)
        answer = self._pool.request(method, self.server + path, body=data, headers=headers, timeout=30)
        found: Json = json.loads(answer.data)
        if answer.status >= 300:
            raise ApiError(answer.status, found.get("message", ""))
        return found

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], "", "GET", None)
        return headers
