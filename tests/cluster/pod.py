"""What a pod asks for, resolved: environment, command, volumes, names of its peers. As a kubelet resolves it."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.cluster.api import Api, ApiError, Json
from tests.cluster.sandbox import Mount, Sandbox

MESSAGE: Final = "/dev/termination-log"
"""Where a container leaves its last words, unless its spec says otherwise. Containers have /dev in common with this
machine, so an empty file stays there: removed, it would take the mounts of another test run's containers along."""


@dataclass(frozen=True)
class Image:
    """What stands in for a container image: a local environment."""

    path: str
    """Folders of programs, as in PATH."""
    cwd: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    """Folders under /root that its programs need."""


class NotReady(RuntimeError):
    """Something that the pod refers to is not there (yet): CreateContainerConfigError."""


def environment(api: Api, pod: Json, container: Json, image: Image, ip: str) -> dict[str, str]:
    """Of one container: the image's, then envFrom, then env, later ones over earlier ones."""
    namespace = pod["metadata"]["namespace"]
    server = urlsplit(api.server)
    found = {"PATH": image.path, "HOME": "/", "HOSTNAME": hostname(pod), **image.env}
    found |= {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}
    for source in container.get("envFrom", []):
        kind = "secretRef" if "secretRef" in source else "configMapRef"
        values = _data(api, namespace, kind[:-3], source[kind]["name"], optional=source[kind].get("optional", False))
        found |= {source.get("prefix", "") + key: value.decode() for key, value in values.items()}
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            value = _value_from(api, pod, container, entry["valueFrom"], ip)
            if value is None:
                continue
        else:
            value = expand(entry.get("value", ""), found)
        found[entry["name"]] = value
    return found


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known; `$$(NAME)` is `$(NAME)`."""

    def one(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        return values.get(match[1], match[0])

    return re.sub(r"\$?\$\(([\w.-]+)\)", one, text)


def image_name(reference: str) -> str:
    """Without registry, tag and digest: `ghcr.io/reverie/trainer:1.0@sha256:…` is `trainer`."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


def hostname(pod: Json) -> str:
    """The pod's own name for itself."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])


def sandbox(api: Api, pod: Json, container: Json, image: Image, folder: Path, hosts: Path) -> Sandbox:
    """Where the container runs. Volumes are made in `folder`, once for all containers of the pod."""
    message = termination_log(folder, container)
    message.write_bytes(b"")  # each start has its own
    message.chmod(0o666)
    mounts = [Mount(hosts, "/etc/hosts"), Mount(message, container.get("terminationMessagePath", MESSAGE))]
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for asked in container.get("volumeMounts", []):
        source = _volume(api, pod, volumes[asked["name"]], folder / "volumes" / asked["name"])
        source = source / asked["subPath"] if "subPath" in asked else source
        mounts.append(Mount(source, asked["mountPath"], asked.get("readOnly", False)))
    security = pod["spec"].get("securityContext", {}) | container.get("securityContext", {})
    return Sandbox(
        hostname(pod),
        sorted(mounts, key=lambda mount: mount.target),  # an outer folder before what is mounted inside it
        read_only=security.get("readOnlyRootFilesystem", False),
        user=security.get("runAsUser", 0),
        group=security.get("runAsGroup", security.get("fsGroup", 0)),
        shown=image.shown,
    )


def termination_log(folder: Path, container: Json) -> Path:
    """What a container leaves for its status."""
    return folder / f"{container['name']}.termination-log"


def _value_from(api: Api, pod: Json, container: Json, source: Json, ip: str) -> str | None:
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"], ip)
    if "resourceFieldRef" in source:
        kind, _, name = source["resourceFieldRef"]["resource"].partition(".")
        return str(container.get("resources", {}).get(kind, {}).get(name, "0"))
    kind = "secretKeyRef" if "secretKeyRef" in source else "configMapKeyRef"
    wanted, optional = source[kind], source[kind].get("optional", False)
    values = _data(api, pod["metadata"]["namespace"], kind[:-6], wanted["name"], optional=optional)
    if wanted["key"] in values:
        return values[wanted["key"]].decode()
    if optional:
        return None
    raise NotReady(f"{kind[:-6]} {wanted['name']} has no key {wanted['key']}")


def _field(pod: Json, path: str, ip: str) -> str:
    if path in ("status.podIP", "status.hostIP"):
        return ip if path == "status.podIP" else "127.0.0.1"
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    value: Any = pod
    for part in path.split("."):
        value = value[part]
    return str(value)


def _volume(api: Api, pod: Json, volume: Json, folder: Path) -> Path:
    """The folder of a volume, made and filled when it is first asked for."""
    namespace = pod["metadata"]["namespace"]
    if "persistentVolumeClaim" in volume:
        claim = volume["persistentVolumeClaim"]["claimName"]
        folder = folder.parents[4] / "claims" / namespace / claim  # outlives the pod
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # fsGroup
    if "configMap" in volume:
        _fill(folder, _data(api, namespace, "configMap", volume["configMap"]["name"]), volume["configMap"])
    elif "secret" in volume:
        _fill(folder, _data(api, namespace, "secret", volume["secret"]["secretName"]), volume["secret"])
    elif "projected" in volume:
        for source in volume["projected"]["sources"]:
            _project(api, pod, source, folder)
    elif not volume.keys() & {"emptyDir", "persistentVolumeClaim"}:
        raise NotReady(f"volume {volume['name']}: this agent has no {', '.join(volume.keys() - {'name'})}")
    return folder


def _project(api: Api, pod: Json, source: Json, folder: Path) -> None:
    namespace = pod["metadata"]["namespace"]
    if "serviceAccountToken" in source:
        wanted = source["serviceAccountToken"]
        account = pod["spec"].get("serviceAccountName", "default")
        bound = {"kind": "Pod", "apiVersion": "v1", **{key: pod["metadata"][key] for key in ("name", "uid")}}
        spec: Json = {"boundObjectRef": bound, "expirationSeconds": wanted.get("expirationSeconds", 3600)}
        spec |= {"audiences": [wanted["audience"]]} if "audience" in wanted else {}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        (folder / wanted["path"]).write_text(api.post(path, body)["status"]["token"])
    elif "downwardAPI" in source:
        for item in source["downwardAPI"]["items"]:
            (folder / item["path"]).write_text(_field(pod, item["fieldRef"]["fieldPath"], ""))
    else:
        kind = "secret" if "secret" in source else "configMap"
        _fill(folder, _data(api, namespace, kind, source[kind]["name"]), source[kind])


def _fill(folder: Path, data: Mapping[str, bytes], asked: Json) -> None:
    items = asked.get("items") or [{"key": key, "path": key} for key in data]
    for item in items:
        (folder / item["path"]).write_bytes(data[item["key"]])


def _data(api: Api, namespace: str, kind: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
    """Of a `secret` or `configMap`."""
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{name}")
    except ApiError as error:
        if error.code == 404 and optional:
            return {}
        raise NotReady(f"{kind} {name}: {error}") from error
    plain = {key: value.encode() for key, value in found.get("data", {}).items()}
    if kind == "secret":
        return {key: base64.b64decode(value) for key, value in plain.items()}
    return plain | {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}
