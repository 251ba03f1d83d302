"""What a frozen encoder's features are good for. An evaluator takes features and only yields (name, value) pairs."""

from trainer.evaluation.table import EVALUATORS, Evaluator

__all__ = ["EVALUATORS", "Evaluator"]
