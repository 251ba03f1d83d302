"""What holds for every test: nothing is fetched from a hub, no GPU is looked for, one thread per process, and random
numbers that are the same whichever tests run.

The environment is set before any test module is imported: torch, DeepSpeed and huggingface_hub read it at import.
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["DS_ACCELERATOR"] = "cpu"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nobody's own cluster, bucket or tracking server is ever touched by a test.
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "TORCHXCONFIG"):
    os.environ.pop(name, None)
os.environ["KUBECONFIG"] = "/nonexistent/kubeconfig"  # without it, clients look into the home folder
os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "test"  # as tests/servers/s3.py has it
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"


def pytest_runtest_setup() -> None:
    """Let nothing that a test's fixtures draw depend on the tests before it."""
    _seed(0)


def pytest_runtest_call() -> None:
    """Let nothing that it draws itself depend on its fixtures being shared or new."""
    _seed(1)


def _seed(seed: int) -> None:
    if torch := sys.modules.get("torch"):  # before its import, nothing can have drawn from it
        torch.manual_seed(seed)
