"""What holds for every test: nothing is fetched from a hub, no GPU is looked for, one thread per process.

Set before any test module is imported, because torch, DeepSpeed and huggingface_hub read them at import.
"""

import os

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
