"""`python -m controller --recipe default`: serves `Reverie` resources until it is told to end.

Any number of replicas may run; one leads, the others watch and wait. One that loses its lease ends with 75, and its pod
starts again as one that waits.
"""

import logging
import os
import secrets
import signal
import socket
import threading
from pathlib import Path

from config import ConfigError, RetryableError
from config.cli import run
from controller.api import Api
from controller.config import RECIPES, ControllerConfig
from controller.election import Election
from controller.health import serving
from controller.loop import Controller
from controller.metrics import Metrics

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def main(config: ControllerConfig) -> None:
    """Leads, or waits to.

    Raises:
        ConfigError: there is no cluster to serve.
        RetryableError: the lease was lost.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(config, connect(), stop, identity=f"{socket.gethostname()}-{secrets.token_hex(4)}")


def serve(config: ControllerConfig, api: Api, stop: threading.Event, identity: str) -> None:
    """The whole life of a replica.

    Raises:
        RetryableError: the lease was lost.
    """
    metrics = Metrics()
    api.asked = metrics.counter("reverie_api_requests_total", "Requests to the API server, by verb and resource.")
    controller = Controller(api, config, identity, metrics)
    election = Election(api, lease_namespace(config), config.lease_name, identity, config.lease_seconds)
    metrics.gauge("reverie_leader", "Whether this replica leads.", lambda: float(election.leading.is_set()))
    ended = threading.Event()

    def lead() -> None:
        election.leading.wait()
        if not ended.is_set():
            controller.work()

    with serving(config.address, config.port, lambda: controller.synced, lambda: not ended.is_set(), metrics.text):
        controller.watch()
        leader = threading.Thread(target=lead, name="lead")
        leader.start()
        told = False
        try:
            told = election.run(stop, before_release=controller.stop)
        finally:
            ended.set()
            controller.stop()
            election.leading.set()  # lets `lead` end
            leader.join()
    if not told:
        raise RetryableError(f"lease {config.lease_name} is lost: another replica leads")


def lease_namespace(config: ControllerConfig) -> str:
    """Where the replicas meet."""
    own = _NAMESPACE.read_text().strip() if _NAMESPACE.is_file() else ""
    return config.lease_namespace or own or config.namespace or "default"


def connect() -> Api:
    """The cluster of the pod that this runs in, else of the kubeconfig.

    Raises:
        ConfigError: there is none.
    """
    from kubernetes import client
    from kubernetes import config as kubeconfig

    configuration = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            kubeconfig.load_incluster_config(client_configuration=configuration)
        else:
            kubeconfig.load_kube_config(client_configuration=configuration)
    except kubeconfig.ConfigException as error:
        raise ConfigError(f"no cluster: {error}") from None
    return Api(client.ApiClient(configuration))


if __name__ == "__main__":
    run(main, ControllerConfig, RECIPES)
