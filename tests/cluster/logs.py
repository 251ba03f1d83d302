"""What a kubelet serves to the API server for `kubectl logs`: a container's words, all or the last, followed or not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.servers.loopback import Quiet, listening


@contextmanager
def log_server(folder: Path, certificate: tuple[Path, Path]) -> Iterator[int]:
    """Serves `<folder>/<namespace>/<pod>/<uid>/<container>.log` until the block ends; its port."""

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
            _, _, namespace, pod, container = parts.path.split("/")  # /containerLogs/...
            found = sorted((folder / namespace / pod).glob(f"*/{container}.log"), key=lambda file: file.stat().st_mtime)
            if not found:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            with found[-1].open("rb") as lines:
                said = lines.readlines()
                first = max(0, len(said) - int(query["tailLines"][0])) if "tailLines" in query else 0
                self._say(said[first:], query)
                while query.get("follow") == ["true"] and not (found[-1].parent / "over").exists():
                    time.sleep(0.2)
                    self._say(lines.readlines(), query)
            return None

        def _say(self, lines: list[bytes], query: dict[str, list[str]]) -> None:
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} ".encode()  # of reading; a kubelet knows that of writing
            self.wfile.writelines((now if query.get("timestamps") == ["true"] else b"") + line for line in lines)
            self.wfile.flush()

    with listening(Handler, certificate) as address:
        yield int(address.rpartition(":")[2])
