"""The API server as plain JSON, over the official client's connection: its address, certificates and token.

The client's own methods make models of what comes, which takes seconds for thousands of pods.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from config import RetryableError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Json = dict[str, Any]

FIELD_MANAGER: Final = "reverie-controller"
APPLY: Final = "application/apply-patch+yaml"
JSON_PATCH: Final = "application/json-patch+json"
_PAIRS: Final = re.compile(r"\\\\|\\u(d[89ab]..)\\u(d[c-f]..)|\\ud[89a-f]..")
"""In JSON: an escaped backslash, a pair of surrogates, or half of one."""
_PAGE: Final = 500  # objects per answer, as kubectl
_PATIENCE: Final = 30.0  # seconds for an answer


class ApiError(RetryableError):
    """The API server said no. `status` is that of HTTP: 404 absent, 409 a conflict, 410 too old."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API server answers {status}: {message}")
        self.status = status


class Api:
    """Requests. Every method raises ApiError if the server refuses, RetryableError if it cannot be reached."""

    def __init__(self, client: "ApiClient") -> None:
        self._client = client
        self.asked: Callable[..., None] = lambda **_: None
        """Told the `verb` and the `resource` of each request."""

    def get(self, path: str) -> Json:
        """An object."""
        return self._json("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """Makes an object."""
        return self._json("POST", path, {"fieldManager": FIELD_MANAGER}, body)

    def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """Writes an object whole, if nobody changed it since."""
        return self._json("PUT", path, {"fieldManager": FIELD_MANAGER}, body)

    def apply(self, path: str, body: Mapping[str, Any]) -> Json:
        """Server-side apply: the fields of `body` become ours, and those that were ours and are not in it go."""
        return self._json("PATCH", path, {"fieldManager": FIELD_MANAGER, "force": "true"}, as_yaml(body), APPLY)

    def patch(self, path: str, operations: list[Json]) -> Json:
        """A JSON patch."""
        return self._json("PATCH", path, {"fieldManager": FIELD_MANAGER}, operations, JSON_PATCH)

    def delete(self, path: str, **options: Any) -> None:
        """Removes an object; nothing happens if there is none."""
        try:
            self._json("DELETE", path, {}, {"apiVersion": "v1", "kind": "DeleteOptions", **options})
        except ApiError as error:
            if error.status != 404:
                raise

    def list(self, path: str, selector: str = "") -> tuple[list[Json], str]:
        """All objects at a path, and the resourceVersion from which a watch sees what comes after."""
        query: Json = {"limit": _PAGE} | ({"labelSelector": selector} if selector else {})
        items: list[Json] = []
        while True:
            page = self._json("GET", path, query)
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = token

    def watch(self, path: str, version: str, seconds: int, selector: str = "") -> Iterator[Json]:
        """Events since a resourceVersion, for `seconds`. Silence beyond that is an error and not an endless wait."""
        query: Json = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": seconds,
        } | ({"labelSelector": selector} if selector else {})
        response = self._call("GET", path, query, timeout=seconds + _PATIENCE, stream=True)
        try:
            rest = b""
            for chunk in response.stream(2**16, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        except (OSError, self._http_error()) as error:
            raise RetryableError(f"the watch of {path} broke: {error}") from error
        finally:
            response.close()

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        kind: str = "application/json",
    ) -> Json:
        return dict(json.loads(self._call(method, path, query or {}, body, kind).data))

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any = None,
        kind: str = "application/json",
        *,
        timeout: float = _PATIENCE,
        stream: bool = False,
    ) -> Any:
        self.asked(verb="WATCH" if stream else method, resource=resource_of(path))
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if body is not None else {})
        client = self._client
        try:
            request = client.param_serialize(
                method, path, query_params=list(query.items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response = client.call_api(*request, _request_timeout=timeout).response
            data = b"" if stream and response.status < 300 else response.data
        except (OSError, self._http_error()) as error:
            raise RetryableError(f"{client.configuration.host} does not answer: {error}") from error
        if 200 <= response.status < 300:
            return response
        raise ApiError(response.status, _said(data))

    @staticmethod
    def _http_error() -> type[Exception]:
        from urllib3.exceptions import HTTPError

        return HTTPError


def as_yaml(body: Mapping[str, Any]) -> bytes:
    """JSON that is YAML too, as which the server reads what is applied. YAML has no surrogates, by which JSON escapes
    emoji. Half of a pair, which is no text, becomes the sign for that."""

    def whole(match: re.Match[str]) -> str:
        if match[1]:
            return str(json.loads(f'"{match[0]}"'))
        return match[0] if match[0] == "\\\\" else "\\ufffd"

    return _PAIRS.sub(whole, json.dumps(body)).encode()


def resource_of(path: str) -> str:
    """What a path is about: `pods`, `reveries`, `reveries/status`; of a namespace or of all."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    return "/".join((parts[0], *parts[2:]))


def _said(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data[:500].decode(errors="replace")
