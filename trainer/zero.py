"""What is used of DeepSpeed. Its autotuner imports MLflow if it can: seconds of every rank's start, for nothing."""

import sys

_mlflow = sys.modules.get("mlflow")
sys.modules["mlflow"] = None  # type: ignore[assignment]
try:
    import deepspeed
    from deepspeed.utils import logger as deepspeed_logger
    from deepspeed.utils import safe_get_full_optimizer_state, safe_set_full_optimizer_state
    from deepspeed.utils.mixed_precision_linkage import lazy_init_hp_params_optimizer_state
finally:
    del sys.modules["mlflow"]
    if _mlflow is not None:
        sys.modules["mlflow"] = _mlflow

__all__ = [
    "deepspeed",
    "deepspeed_logger",
    "lazy_init_hp_params_optimizer_state",
    "safe_get_full_optimizer_state",
    "safe_set_full_optimizer_state",
]
