"""What `helm test` runs in a pod: MLflow answers by the name that pipelines use. Standard library only."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

TIMEOUT = 10.0  # seconds for one request
PAUSE = 3.0  # seconds between two attempts


def answer(url: str, body: dict[str, object] | None = None) -> tuple[int, str]:
    """Status and text of a GET, or of a POST if there is a body.

    Raises:
        OSError: nobody answers.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            return reply.status, reply.read(65536).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(65536).decode(errors="replace")


def healthy(uri: str) -> str:
    """What is wrong with the health of our server; empty: nothing."""
    status, text = answer(f"{uri}/health")
    return "" if status == 200 else f"/health: {status} {text[:200]}"


def searchable(uri: str) -> str:
    """Whether the API accepts this host name (/health does any) and reads its database."""
    status, text = answer(f"{uri}/api/2.0/mlflow/experiments/search", {"max_results": 1})
    return "" if status == 200 and "experiments" in text else f"experiments/search: {status} {text[:200]}"


def measured(uri: str) -> str:
    """Whether metrics are there for Prometheus."""
    status, text = answer(f"{uri}/metrics")
    return "" if status == 200 and "# TYPE" in text else f"/metrics: {status} {text[:200]}"


def reachable(uri: str) -> str:
    """Whether a server that is not ours answers at all: it may ask for a login, which is not ours to have."""
    status, text = answer(uri)
    return "" if status < 500 else f"{status} {text[:200]}"


CHECKS: dict[str, Callable[[str], str]] = {
    "healthy": healthy,
    "searchable": searchable,
    "measured": measured,
    "reachable": reachable,
}


def main(uri: str, names: list[str], seconds: float) -> int:
    """Tries each check until it passes or the time is over, and says how each went. 0: all passed."""
    deadline = time.monotonic() + seconds
    failed = 0
    for name in names:
        wrong = tried(CHECKS[name], uri, deadline)
        print(f"{'FAILED' if wrong else 'ok'}: {name}: MLflow at {uri}{': ' + wrong if wrong else ''}", flush=True)
        failed += bool(wrong)
    return 1 if failed else 0


def tried(check: Callable[[str], str], uri: str, deadline: float) -> str:
    """What is wrong at last; a server that has just been installed gets until the deadline."""
    while True:
        try:
            wrong = check(uri)
        except OSError as error:
            wrong = f"{error}; is there a network policy between, is the name right, does the server run?"
        if not wrong or time.monotonic() + PAUSE >= deadline:
            return wrong
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main(os.environ["MLFLOW_URI"].rstrip("/"), sys.argv[1:], float(os.environ.get("SECONDS_MAX", "120"))))
