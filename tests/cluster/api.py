"""The API server as plain JSON: what a node agent needs, without the models of a client library."""

import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3
import yaml

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class ApiError(RuntimeError):
    """The server said no. `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """Requests with the first user of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        tree = yaml.safe_load(kubeconfig.read_text())
        cluster, user = tree["clusters"][0]["cluster"], tree["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        self.server = cluster["server"]
        self._pool = urllib3.PoolManager(ssl_context=context, maxsize=32, retries=3)

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
        listed = self.get(path)
        for item in listed["items"]:
            yield {"type": "ADDED", "object": item}
        joined = "&" if "?" in path else "?"
        version = listed["metadata"]["resourceVersion"]
        where = f"{path}{joined}watch=1&resourceVersion={version}&timeoutSeconds={seconds}"
        answer = self._pool.request("GET", self.server + where, preload_content=False, timeout=seconds + 10)
        try:
            rest = b""
            for part in answer.stream(65536):
                *lines, rest = (rest + part).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            answer.close()

    def _json(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Json:
        headers = {"Content-Type": kind, "Accept": "application/json"}
        data = None if body is None else json.dumps(body)
        answer = self._pool.request(method, self.server + path, body=data, headers=headers, timeout=30)
        found: Json = json.loads(answer.data)
        if answer.status >= 300:
            raise ApiError(answer.status, found.get("message", ""))
        return found
